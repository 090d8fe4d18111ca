//! Travel: an object's past, shown, brought back, copied, taken out; and its end.
//!
//! What shows rows wants `sql-read`, what changes an object `sql-write`, deleting one
//! `operate`. Changes are logged with the token's id.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use dormouse_storage::{self as storage, Error as StorageError};
use http::{HeaderValue, StatusCode, header};

use super::api::{
    AtQuery, Bookmark, Change, Changed, Commit, Deleted, Diff, DiffQuery, Fork, History,
    HistoryQuery, ImportQuery, Restore, Restored,
};
use super::exchange::{Passing, TakeError};
use super::extract::{In, Json, Operate, Path, Query, Read, SqlRead, SqlWrite};
use super::objects::Place;
use super::refusal::Refusal;
use super::tokens::Token;
use crate::builtin::to_json;
use crate::host::{Handle, Moment};
use crate::server::Problem;

const COMMITS: usize = 50;
const COMMITS_MOST: usize = 1_000;
const CHANGES: usize = 1_000;
const CHANGES_MOST: usize = 100_000;
/// Storage takes 1 GiB of pages; a file of another layout may be a little larger.
const IMPORT_MOST_BYTES: u64 = 2 << 30;
const SQLITE: &str = "application/vnd.sqlite3";

/// The bookmark of an object's state now, or at a moment.
#[utoipa::path(get, path = "/v1/apps/{app}/objects/{class}/{object}/bookmark", tag = "time travel",
    params(("app" = String, Path), ("class" = String, Path), ("object" = String, Path), AtQuery),
    responses((status = OK, body = Bookmark), (status = "4XX", body = Problem)))]
pub(super) async fn bookmark(
    at: In<Read>,
    Path(place): Path<Place>,
    Query(query): Query<AtQuery>,
) -> Result<Json<Bookmark>, Refusal> {
    let moment = moment(&at.app, query.at.as_deref())?;
    let found = at.app.bookmark(&place.class, &place.object, moment).await?;
    let bookmark = found.to_string();
    Ok(Json(Bookmark { bookmark }))
}

/// The commits of an object, each a moment that it can be brought back to.
#[utoipa::path(get, path = "/v1/apps/{app}/objects/{class}/{object}/history", tag = "time travel",
    params(("app" = String, Path), ("class" = String, Path), ("object" = String, Path),
        HistoryQuery),
    responses((status = OK, body = History), (status = "4XX", body = Problem)))]
pub(super) async fn history(
    at: In<Read>,
    Path(place): Path<Place>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<History>, Refusal> {
    let limit = query.limit.unwrap_or(COMMITS).clamp(1, COMMITS_MOST);
    let (class, object) = (&place.class, &place.object);
    let found = at.app.commits(class, object, query.before, limit).await?;
    let last = found.commits.last().filter(|_| found.more);
    Ok(Json(History {
        next: last.map(|last| last.bookmark.to_string()),
        since_ms: at.app.history_since_ms().await,
        commits: found.commits.into_iter().map(describe_commit).collect(),
    }))
}

/// The rows of an object that differ between two moments.
#[utoipa::path(get, path = "/v1/apps/{app}/objects/{class}/{object}/diff", tag = "time travel",
    params(("app" = String, Path), ("class" = String, Path), ("object" = String, Path), DiffQuery),
    responses((status = OK, body = Diff), (status = "4XX", body = Problem)))]
pub(super) async fn diff(
    at: In<SqlRead>,
    Path(place): Path<Place>,
    Query(query): Query<DiffQuery>,
) -> Result<Json<Diff>, Refusal> {
    let from = at.app.moment(&query.from)?;
    let to = moment(&at.app, query.to.as_deref())?;
    let limit = query.limit.unwrap_or(CHANGES).clamp(1, CHANGES_MOST);
    let found = at.app.diff(&place.class, &place.object, from, to, limit);
    let found = found.await?;
    Ok(Json(Diff {
        changes: found.changes.into_iter().map(describe_change).collect(),
        more: found.more,
    }))
}

/// An object as a plain SQLite file, as it is or was. The object goes on meanwhile.
#[utoipa::path(get, path = "/v1/apps/{app}/objects/{class}/{object}/export", tag = "time travel",
    params(("app" = String, Path), ("class" = String, Path), ("object" = String, Path), AtQuery),
    responses((status = OK, body = Vec<u8>, content_type = "application/vnd.sqlite3"),
        (status = "4XX", body = Problem)))]
pub(super) async fn export(
    at: In<SqlRead>,
    Path(place): Path<Place>,
    Query(query): Query<AtQuery>,
) -> Result<Response, Refusal> {
    let moment = moment(&at.app, query.at.as_deref())?;
    let file = Passing::new(at.app.data()).map_err(disk)?;
    let (class, object) = (&place.class, &place.object);
    at.app.export(class, object, moment, file.path()).await?;
    let (body, bytes) = file.into_body().await.map_err(disk)?;
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static(SQLITE));
    let length = (header::CONTENT_LENGTH, HeaderValue::from(bytes));
    Ok(([kind, length], body).into_response())
}

/// Brings an object back to what it was, but for its alarms. It sleeps meanwhile, and
/// requests wait; its sockets stay open.
#[utoipa::path(post, path = "/v1/apps/{app}/objects/{class}/{object}/restore", tag = "time travel",
    params(("app" = String, Path), ("class" = String, Path), ("object" = String, Path)),
    request_body = Restore,
    responses((status = OK, body = Restored), (status = "4XX", body = Problem)))]
pub(super) async fn restore(
    at: In<SqlWrite>,
    Path(place): Path<Place>,
    Json(wish): Json<Restore>,
) -> Result<Json<Restored>, Refusal> {
    let to = at.app.moment(&wish.to)?;
    let restored = at.app.restore(&place.class, &place.object, to).await?;
    let bookmark = restored.to.to_string();
    let undo = restored.undo.to_string();
    tell(
        &at.token,
        &place,
        &format!("brought back to {bookmark}, undone by {undo}"),
    );
    Ok(Json(Restored { bookmark, undo }))
}

/// Makes a new object of what this one is or was. Alarms stay behind.
#[utoipa::path(post, path = "/v1/apps/{app}/objects/{class}/{object}/fork", tag = "time travel",
    params(("app" = String, Path), ("class" = String, Path), ("object" = String, Path)),
    request_body = Fork,
    responses((status = CREATED), (status = "4XX", body = Problem)))]
pub(super) async fn fork(
    at: In<SqlWrite>,
    Path(place): Path<Place>,
    Json(wish): Json<Fork>,
) -> Result<StatusCode, Refusal> {
    if wish.name.is_empty() {
        return Err(Refusal::bad_request("`name` is empty; name the new object"));
    }
    let moment = moment(&at.app, wish.at.as_deref())?;
    let (class, object) = (&place.class, &place.object);
    at.app.fork(class, object, moment, &wish.name).await?;
    tell(&at.token, &place, &format!("copied to {:?}", wish.name));
    Ok(StatusCode::CREATED)
}

/// Makes an object of a SQLite file, which is checked first.
#[utoipa::path(put, path = "/v1/apps/{app}/objects/{class}/{object}/import", tag = "time travel",
    params(("app" = String, Path), ("class" = String, Path), ("object" = String, Path),
        ImportQuery),
    request_body(content = Vec<u8>, content_type = "application/vnd.sqlite3"),
    responses((status = NO_CONTENT), (status = "4XX", body = Problem)))]
pub(super) async fn import(
    at: In<SqlWrite>,
    Path(place): Path<Place>,
    Query(query): Query<ImportQuery>,
    body: Body,
) -> Result<StatusCode, Refusal> {
    at.app.address(&place.class, &place.object)?;
    let file = Passing::new(at.app.data()).map_err(disk)?;
    file.take(body, IMPORT_MOST_BYTES)
        .await
        .map_err(not_taken)?;
    let (class, object) = (&place.class, &place.object);
    let done = at
        .app
        .import(class, object, file.path(), query.replace)
        .await;
    // The path is of this machine and of this moment.
    done.map_err(|error| match error {
        crate::host::AskError::Travel(StorageError::Import { found, .. }) => {
            travel(StorageError::Import {
                path: "the file".into(),
                found,
            })
        }
        error => error.into(),
    })?;
    tell(&at.token, &place, "made of a file");
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes an object for good: no byte of it stays in the data folder, its history
/// included. Its sockets are closed. The next request to its name finds a new object.
#[utoipa::path(delete, path = "/v1/apps/{app}/objects/{class}/{object}", tag = "time travel",
    params(("app" = String, Path), ("class" = String, Path), ("object" = String, Path)),
    responses((status = OK, body = Deleted), (status = "4XX", body = Problem)))]
pub(super) async fn delete(
    at: In<Operate>,
    Path(place): Path<Place>,
) -> Result<Json<Deleted>, Refusal> {
    let existed = at.app.delete(&place.class, &place.object).await?;
    tell(&at.token, &place, "deleted");
    Ok(Json(Deleted { existed }))
}

fn moment(app: &Handle, text: Option<&str>) -> Result<Option<Moment>, Refusal> {
    Ok(text.map(|text| app.moment(text)).transpose()?)
}

fn tell(token: &Token, place: &Place, what: &str) {
    let (class, object) = (&*place.class, &*place.object);
    tracing::info!(class, object, token = token.id, "by an operator: {what}");
}

fn describe_commit(commit: storage::Commit) -> Commit {
    Commit {
        bookmark: commit.bookmark.to_string(),
        time_ms: commit.time_ms,
        bytes: commit.bytes,
        pages: commit.pages,
        restored: commit.restored,
    }
}

fn describe_change(change: storage::Change) -> Change {
    let row = |row: Option<storage::Row>| Some(row?.into_iter().map(to_json).collect());
    Change {
        table: change.table,
        changed: match change.changed {
            storage::Changed::Added => Changed::Added,
            storage::Changed::Removed => Changed::Removed,
            storage::Changed::Updated => Changed::Updated,
            storage::Changed::Schema => Changed::Schema,
        },
        columns: change.columns,
        before: row(change.before),
        after: row(change.after),
    }
}

fn disk(error: std::io::Error) -> Refusal {
    let error = anyhow::Error::new(error);
    Refusal::failed(&error.context("the folder for files on their way cannot be used"))
}

fn not_taken(error: TakeError) -> Refusal {
    match error {
        TakeError::TooLarge => Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "urn:dormouse:problem:too-much",
            "Too much at once",
            format!("the file is larger than {IMPORT_MOST_BYTES} bytes; VACUUM it, or split it"),
        ),
        TakeError::Broken(why) => {
            Refusal::bad_request(format!("the file did not come whole: {why}; send it again"))
        }
        TakeError::Disk(error) => disk(error),
    }
}

/// What storage said to it, as a problem.
pub(super) fn travel(error: StorageError) -> Refusal {
    let (status, kind, title) = match &error {
        StorageError::Missing { .. } => (
            StatusCode::NOT_FOUND,
            "urn:dormouse:problem:no-object",
            "No such object",
        ),
        StorageError::Exists { .. } => (
            StatusCode::CONFLICT,
            "urn:dormouse:problem:object-exists",
            "The object has data",
        ),
        StorageError::Bookmark { .. } => (
            StatusCode::BAD_REQUEST,
            "urn:dormouse:problem:bookmark",
            "No such moment",
        ),
        StorageError::Import { .. } => (
            StatusCode::BAD_REQUEST,
            "urn:dormouse:problem:import",
            "The file cannot be used",
        ),
        StorageError::TooMuch { .. } => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "urn:dormouse:problem:too-much",
            "Too much at once",
        ),
        StorageError::NoSpace => (
            StatusCode::INSUFFICIENT_STORAGE,
            "urn:dormouse:problem:no-space",
            "The disk is full",
        ),
        _ => return Refusal::failed(&error.into()),
    };
    Refusal::new(status, kind, title, error.to_string())
}
