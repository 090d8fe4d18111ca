//! SQL over all objects of a class: each is asked by itself and none is woken, so the
//! answers together are no single moment. A line of JSON for each object, as it comes.

use std::convert::Infallible;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, future, stream};
use http::header;
use serde::Deserialize;

use super::api::{ClassSql, ObjectRows};
use super::extract::{In, Json, Path, SqlRead};
use super::objects::{ROWS, ROWS_MOST, rows};
use super::refusal::Refusal;
use crate::builtin::from_json;
use crate::event::SqlText;
use crate::host::{AskError, Handle, ObjectQuery};
use crate::server::Problem;

/// Objects that are asked at a time.
const AT_ONCE: usize = 8;

#[derive(Debug, Deserialize)]
pub(super) struct OfClass {
    class: String,
}

/// Runs SQL that reads on all objects of a class. Objects that sleep are not woken.
#[utoipa::path(post, path = "/v1/apps/{app}/classes/{class}/sql", tag = "objects",
    params(("app" = String, Path), ("class" = String, Path)),
    request_body = ClassSql,
    responses((status = OK, body = ObjectRows, content_type = "application/x-ndjson"),
        (status = "4XX", body = Problem)))]
pub(super) async fn sql(
    at: In<SqlRead>,
    Path(OfClass { class }): Path<OfClass>,
    Json(wish): Json<ClassSql>,
) -> Result<Response, Refusal> {
    let params: Result<Vec<_>, String> = wish.params.into_iter().map(from_json).collect();
    let params = params.map_err(Refusal::bad_request)?;
    let left = wish.max_rows.unwrap_or(ROWS).min(ROWS_MOST);
    let listed = at.app.objects(ObjectQuery {
        class: Some(class.clone()),
        prefix: wish.prefix,
        state: None,
        after: None,
        limit: usize::MAX,
    });
    let names = listed.await?.objects.into_iter();
    let names: Vec<_> = names
        .map(|one| (one.key(), format!("id:{}", one.id)))
        .collect();
    let (app, sql) = (at.app.clone(), wish.sql);
    let answers = stream::iter(names).map(move |(key, id)| {
        let text = SqlText {
            sql: sql.clone(),
            params: params.clone(),
            writes: false,
            max_rows: left,
        };
        ask(app.clone(), class.clone(), key, id, text)
    });
    let body = Body::from_stream(lines(answers.buffered(AT_ONCE), left));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// `None`: nothing was ever written there.
async fn ask(
    app: Handle,
    class: String,
    object: String,
    id: String,
    text: SqlText,
) -> Option<ObjectRows> {
    let mut told = ObjectRows {
        object,
        ..ObjectRows::default()
    };
    match app.sql(&class, &id, text).await {
        Ok(answer) => {
            let answer = rows(answer);
            told.columns = answer.columns;
            told.rows = answer.rows;
            told.rows_read = answer.rows_read;
            told.more = answer.more;
        }
        Err(AskError::NoObject(_)) => return None,
        Err(error) => told.error = Some(error.to_string()),
    }
    Some(told)
}

/// Ends with the object whose rows are too many.
fn lines(
    answers: impl Stream<Item = Option<ObjectRows>>,
    most: u32,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let cut = answers.filter_map(future::ready).scan(
        (most as usize, false),
        |(left, over), mut one: ObjectRows| {
            if *over {
                return future::ready(None);
            }
            one.more |= one.rows.len() > *left;
            one.rows.truncate(*left);
            *left -= one.rows.len();
            *over = one.more;
            future::ready(Some(one))
        },
    );
    cut.map(|one| {
        let mut line = serde_json::to_vec(&one).expect("an answer is plain data");
        line.push(b'\n');
        Ok(line.into())
    })
}
