//! Logs: the records that somebody asks for, as lines of JSON.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State as From;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::header;
use tokio::sync::{broadcast, watch};

use super::State;
use super::api::{LogsQuery, Record};
use super::extract::{In, Query, Read};
use super::records::Level;
use crate::server::Problem;

const TAIL: usize = 100;

/// Records as `application/x-ndjson`, a record a line; with `follow` until the client leaves.
#[utoipa::path(get, path = "/v1/apps/{app}/logs", tag = "logs",
    params(("app" = String, Path), LogsQuery),
    responses((status = OK, body = Record, content_type = "application/x-ndjson"),
        (status = "4XX", body = Problem)))]
pub(super) async fn read(
    at: In<Read>,
    From(state): From<State>,
    Query(query): Query<LogsQuery>,
) -> Response {
    let whose = Whose {
        app: at.app.name().to_string(),
        // A token for some apps is told nothing of the others, nor of the host.
        host: at.token.apps.is_none(),
    };
    let (kept, news) = state.0.records.follow();
    let matching: Vec<_> = kept
        .into_iter()
        .filter(|one| whose.tells(one) && matches(&query, one))
        .collect();
    let tail = query.tail.unwrap_or(TAIL).min(matching.len());
    let first = matching[matching.len() - tail..].iter().cloned().collect();
    let follow = query.follow.then_some(news);
    let lines = Lines {
        whose,
        query,
        first,
        follow,
        closing: state.0.closing.clone(),
    };
    let body = Body::from_stream(lines.stream());
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

fn matches(query: &LogsQuery, record: &Record) -> bool {
    let same = |wanted: &Option<String>, found: &Option<String>| {
        wanted.is_none() || wanted.as_deref() == found.as_deref()
    };
    query.level.is_none_or(|level| record.level >= level)
        && same(&query.class, &record.class)
        && same(&query.object, &record.object)
        && same(&query.request, &record.request)
        && query
            .text
            .as_ref()
            .is_none_or(|text| record.message.contains(text))
}

/// Whose records are shown.
struct Whose {
    app: String,
    /// Those of no app, too.
    host: bool,
}

impl Whose {
    fn tells(&self, record: &Record) -> bool {
        match &record.app {
            Some(app) => *app == self.app,
            None => self.host,
        }
    }
}

struct Lines {
    whose: Whose,
    query: LogsQuery,
    first: VecDeque<Arc<Record>>,
    follow: Option<broadcast::Receiver<Arc<Record>>>,
    closing: watch::Receiver<bool>,
}

impl Lines {
    fn stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, |mut lines| async {
            let record = lines.next().await?;
            let mut line = serde_json::to_vec(&*record).expect("a record is plain data");
            line.push(b'\n');
            Some((Ok(line.into()), lines))
        })
    }

    async fn next(&mut self) -> Option<Arc<Record>> {
        if let Some(record) = self.first.pop_front() {
            return Some(record);
        }
        let news = self.follow.as_mut()?;
        loop {
            let record = tokio::select! {
                record = news.recv() => record,
                _ = self.closing.wait_for(|closing| *closing) => return None,
            };
            match record {
                Ok(record) if self.whose.tells(&record) && matches(&self.query, &record) => {
                    return Some(record);
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(count)) => return Some(missed(count)),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

fn missed(count: u64) -> Arc<Record> {
    Arc::new(Record {
        time_ms: 0,
        level: Level::Warn,
        target: "dormouse".to_owned(),
        app: None,
        class: None,
        object: None,
        request: None,
        message: format!("{count} records were missed here: they came too fast"),
        fields: Default::default(),
    })
}
