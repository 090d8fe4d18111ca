//! SQL databases of the app by HTTP, in the form that drivers of the kind of
//! `drizzle-orm/sqlite-proxy` speak.

use serde::Deserialize;
use serde_json::Value as Json;
use utoipa::ToSchema;

use super::api::QueryRows;
use super::extract::{In, Json as Body, Path, SqlRead};
use super::refusal::Refusal;
use super::tokens::Scope;
use crate::builtin::{BatchOptions, Statement};
use crate::server::Problem;

/// The part of the path that matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Place {
    binding: String,
}

/// What a driver wants of one statement.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(super) struct Query {
    sql: String,
    /// null, numbers, texts, `{"blob": "hexadecimal digits"}`.
    #[serde(default)]
    params: Vec<serde_json::Value>,
    #[serde(default)]
    method: Method,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Method {
    /// No rows.
    Run,
    /// Every row, as a list of values.
    #[default]
    All,
    /// The same.
    Values,
    /// The first row, or null.
    Get,
}

#[derive(Debug, Deserialize)]
struct Answer {
    rows: Vec<Json>,
}

/// Runs one statement; one that writes needs the scope `sql-write`.
#[utoipa::path(post, path = "/v1/apps/{app}/databases/{binding}/query", tag = "databases",
    params(("app" = String, Path), ("binding" = String, Path)), request_body = Query,
    responses((status = OK, body = QueryRows), (status = "4XX", body = Problem)))]
pub(super) async fn query(
    at: In<SqlRead>,
    Path(place): Path<Place>,
    Body(query): Body<Query>,
) -> Result<Body<QueryRows>, Refusal> {
    let mut answers = run(&at, &place.binding, vec![query]).await?;
    Ok(Body(answers.remove(0)))
}

/// Runs statements in order as one transaction: all of them, or none.
#[utoipa::path(post, path = "/v1/apps/{app}/databases/{binding}/batch", tag = "databases",
    params(("app" = String, Path), ("binding" = String, Path)), request_body = Vec<Query>,
    responses((status = OK, body = Vec<QueryRows>), (status = "4XX", body = Problem)))]
pub(super) async fn batch(
    at: In<SqlRead>,
    Path(place): Path<Place>,
    Body(queries): Body<Vec<Query>>,
) -> Result<Body<Vec<QueryRows>>, Refusal> {
    Ok(Body(run(&at, &place.binding, queries).await?))
}

async fn run(
    at: &In<SqlRead>,
    binding: &str,
    queries: Vec<Query>,
) -> Result<Vec<QueryRows>, Refusal> {
    let read_only = !at.token.allows(Scope::SqlWrite);
    let methods: Vec<Method> = queries.iter().map(|query| query.method).collect();
    let statements = queries.into_iter().map(|query| Statement {
        sql: query.sql,
        params: query.params,
    });
    let options = BatchOptions { read_only };
    let value = at.app.batch(binding, statements.collect(), options).await?;
    let answers: Result<Vec<Answer>, _> = serde_json::from_str(&value);
    let answers = answers.map_err(|error| Refusal::failed(&error.into()))?;
    let answers = answers.into_iter().zip(methods);
    Ok(answers
        .map(|(answer, method)| shaped(answer, method))
        .collect())
}

fn shaped(answer: Answer, method: Method) -> QueryRows {
    let rows = match method {
        Method::Run => Json::Array(Vec::new()),
        Method::All | Method::Values => Json::Array(answer.rows),
        Method::Get => answer.rows.into_iter().next().unwrap_or_default(),
    };
    QueryRows { rows }
}
