//! Objects: lists, one in detail, SQL and sockets. Wakes nobody.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dormouse_storage::OperatorAnswer;
use serde::Deserialize;

use super::alarms;
use super::api::{
    ObjectDetail, ObjectInfo, Objects, ObjectsQuery, Rows, Socket, Sql, State, Table,
};
use super::extract::{In, Json, Path, Query, Read, SqlRead};
use super::refusal::Refusal;
use super::tokens::Scope;
use crate::alarm::Address;
use crate::builtin::{from_json, to_json};
use crate::event::SqlText;
use crate::host::{self, Handle, ObjectQuery, ObjectState};
use crate::server::Problem;
use crate::socket::{SocketInfo, SocketState};

const LIST_LIMIT: usize = 100;
const LIST_MOST: usize = 1_000;
pub(super) const ROWS: u32 = 1_000;
pub(super) const ROWS_MOST: u32 = 100_000;

/// The part of a path that names an object, by name or `id:…`.
#[derive(Debug, Deserialize)]
pub(super) struct Place {
    pub(super) class: String,
    pub(super) object: String,
}

/// Objects by class and name: those that have written something, are awake or have sockets.
#[utoipa::path(get, path = "/v1/apps/{app}/objects", tag = "objects",
    params(("app" = String, Path), ObjectsQuery),
    responses((status = OK, body = Objects), (status = "4XX", body = Problem)))]
pub(super) async fn list(
    at: In<Read>,
    Query(query): Query<ObjectsQuery>,
) -> Result<Json<Objects>, Refusal> {
    let limit = query.limit.unwrap_or(LIST_LIMIT).clamp(1, LIST_MOST);
    let listed = at.app.objects(ObjectQuery {
        class: query.class,
        prefix: query.prefix.unwrap_or_default(),
        state: query.state.map(|state| match state {
            State::Awake => ObjectState::Awake,
            State::Asleep => ObjectState::Asleep,
        }),
        after: query.after,
        limit,
    });
    let listed = listed.await?;
    let last = listed.objects.last().filter(|_| listed.more);
    Ok(Json(Objects {
        next: last.map(|last| format!("{}/{}", last.class, last.key())),
        total: listed.total,
        objects: listed.objects.into_iter().map(describe).collect(),
    }))
}

/// One object with its schema, alarms and sockets.
#[utoipa::path(get, path = "/v1/apps/{app}/objects/{class}/{object}", tag = "objects",
    params(("app" = String, Path), ("class" = String, Path), ("object" = String, Path)),
    responses((status = OK, body = ObjectDetail), (status = "4XX", body = Problem)))]
pub(super) async fn show(
    at: In<Read>,
    Path(place): Path<Place>,
) -> Result<Json<ObjectDetail>, Refusal> {
    let Place { class, object } = place;
    let address = at.app.address(&class, &object)?;
    // Names of tables and columns are no rows; the scope for reading is enough.
    let schema = "SELECT name, type, sql FROM sqlite_schema \
        WHERE name NOT LIKE '\\_dormouse\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
        ORDER BY name";
    let rows = read(&at.app, &class, &object, schema).await?;
    let key = match object.strip_prefix("id:") {
        Some(_) => format!("id:{}", address.id),
        None => object.clone(),
    };
    let found = find(&at.app, &address).await?;
    let missing = || Refusal::from(host::AskError::NoObject(format!("{class}/{object}")));
    Ok(Json(ObjectDetail {
        object: describe(found.ok_or_else(missing)?),
        tables: rows.into_iter().map(table).collect(),
        alarms: alarms::of(&at.app, &address, &key).await?,
        open_sockets: sockets_of(&at.app, &address, &key),
    }))
}

/// Runs SQL on one object. An object that sleeps is not woken; one that is awake
/// answers between two turns of its code.
#[utoipa::path(post, path = "/v1/apps/{app}/objects/{class}/{object}/sql", tag = "objects",
    params(("app" = String, Path), ("class" = String, Path), ("object" = String, Path)),
    request_body = Sql,
    responses((status = OK, body = Rows), (status = "4XX", body = Problem)))]
pub(super) async fn sql(
    at: In<SqlRead>,
    Path(place): Path<Place>,
    Json(sql): Json<Sql>,
) -> Result<Json<Rows>, Refusal> {
    let Place { class, object } = place;
    if sql.write && !at.token.allows(Scope::SqlWrite) {
        return Err(Refusal::forbidden(Scope::SqlWrite, None));
    }
    let params: Result<Vec<_>, String> = sql.params.into_iter().map(from_json).collect();
    if sql.dry_run && !sql.write {
        return Err(Refusal::bad_request(
            "`dry_run` is for statements that write; add `write`",
        ));
    }
    let text = SqlText {
        sql: sql.sql,
        params: params.map_err(Refusal::bad_request)?,
        writes: sql.write,
        max_rows: sql.max_rows.unwrap_or(ROWS).min(ROWS_MOST),
    };
    if sql.dry_run {
        let rehearsed = at.app.rehearse_sql(&class, &object, text).await?;
        let plan = rehearsed.plan;
        return Ok(Json(Rows {
            plan,
            ..rows(rehearsed.answer)
        }));
    }
    if sql.write {
        let (class, object) = (&*class, &*object);
        tracing::info!(
            class,
            object,
            token = at.token.id,
            "an operator writes: {}",
            text.sql
        );
    }
    let answer = at.app.sql(&class, &object, text).await?;
    Ok(Json(rows(answer)))
}

pub(super) fn rows(answer: OperatorAnswer) -> Rows {
    let rows = answer.rows.into_iter();
    Rows {
        columns: answer.columns,
        rows: rows
            .map(|row| row.into_iter().map(to_json).collect())
            .collect(),
        rows_read: answer.rows_read,
        rows_written: answer.rows_written,
        more: answer.more,
        plan: Vec::new(),
    }
}

/// The sockets of one object.
#[utoipa::path(get, path = "/v1/apps/{app}/objects/{class}/{object}/sockets", tag = "sockets",
    params(("app" = String, Path), ("class" = String, Path), ("object" = String, Path)),
    responses((status = OK, body = Vec<Socket>), (status = "4XX", body = Problem)))]
pub(super) async fn sockets(
    at: In<Read>,
    Path(place): Path<Place>,
) -> Result<Json<Vec<Socket>>, Refusal> {
    let Place { class, object } = place;
    let address = at.app.address(&class, &object)?;
    Ok(Json(sockets_of(&at.app, &address, &object)))
}

/// The sockets of all objects; 10,000 at most.
#[utoipa::path(get, path = "/v1/apps/{app}/sockets", tag = "sockets",
    params(("app" = String, Path)),
    responses((status = OK, body = Vec<Socket>), (status = "4XX", body = Problem)))]
pub(super) async fn all_sockets(at: In<Read>) -> Json<Vec<Socket>> {
    let present = at.app.present().into_iter();
    let sockets = present.filter(|one| one.sockets > 0).flat_map(|one| {
        let name = one.name.as_deref().map(str::to_owned);
        let key = name.unwrap_or_else(|| format!("id:{}", one.id));
        let address = Address {
            class: one.class,
            id: one.id,
        };
        sockets_of(&at.app, &address, &key)
    });
    Json(sockets.take(10_000).collect())
}

fn sockets_of(app: &Handle, address: &Address, key: &str) -> Vec<Socket> {
    let sockets = app.sockets(address).into_iter();
    let class = app.class_name(&address.class);
    sockets
        .map(|socket| describe_socket(socket, &class, key))
        .collect()
}

fn describe_socket(socket: SocketInfo, class: &str, key: &str) -> Socket {
    Socket {
        id: socket.id,
        class: class.to_owned(),
        object: key.to_owned(),
        tags: socket.tags,
        state: match socket.state {
            SocketState::Open => "open",
            SocketState::Closing => "closing",
            SocketState::Closed => "closed",
        }
        .to_owned(),
        buffered_bytes: socket.buffered_bytes,
        attachment_bytes: socket.attachment_bytes,
        auto_response_ms: socket.auto_response_at.map(millis),
    }
}

fn describe(object: host::Object) -> ObjectInfo {
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).ok().map(millis);
    ObjectInfo {
        class: object.class.to_string(),
        name: object.name,
        id: object.id.to_string(),
        state: match object.awake {
            true => State::Awake,
            false => State::Asleep,
        },
        idle_ms: object.idle.map(|idle| idle.as_millis() as u64),
        bytes: object.bytes,
        changed_ms: object.changed.and_then(since),
        sockets: object.sockets,
    }
}

fn millis(since: Duration) -> i64 {
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

async fn find(app: &Handle, address: &Address) -> Result<Option<host::Object>, Refusal> {
    let listed = app.objects(ObjectQuery {
        class: Some(app.class_name(&address.class).to_string()),
        prefix: String::new(),
        state: None,
        after: None,
        limit: usize::MAX,
    });
    let objects = listed.await?.objects.into_iter();
    Ok(objects.into_iter().find(|one| one.id == address.id))
}

async fn read(
    app: &Handle,
    class: &str,
    object: &str,
    sql: &str,
) -> Result<Vec<Vec<dormouse_storage::Value>>, Refusal> {
    let text = SqlText {
        sql: sql.to_owned(),
        params: Vec::new(),
        writes: false,
        max_rows: ROWS,
    };
    Ok(app.sql(class, object, text).await?.rows)
}

fn table(row: Vec<dormouse_storage::Value>) -> Table {
    let mut texts = row.into_iter().map(|value| match value {
        dormouse_storage::Value::Text(text) => Some(text),
        _ => None,
    });
    let mut next = || texts.next().flatten();
    Table {
        name: next().unwrap_or_default(),
        kind: next().unwrap_or_default(),
        sql: next(),
    }
}
