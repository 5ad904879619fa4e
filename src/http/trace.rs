//! A live trace as an answer that does not end: one JSON object a line.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Bytes, Frame};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::Shared;
use super::query::Parameters;
use crate::admin::{TraceLine, TraceTarget};

pub(super) async fn trace(State(shared): State<Arc<Shared>>, Query(query): Query<Parameters>) -> Response {
    let target = match (query.filter(), query.client()) {
        (Some(filter), _) => TraceTarget::Topics(filter.to_owned()),
        (None, Ok(key)) => TraceTarget::Client(key),
        (None, Err(_)) => {
            return (StatusCode::BAD_REQUEST, "say what to follow: ?id=CLIENT_ID or ?filter=TOPIC_FILTER\n")
                .into_response();
        }
    };
    let Ok(permit) = shared.traces.clone().try_acquire_owned() else {
        return (StatusCode::TOO_MANY_REQUESTS, "`http.traces_max` traces are running\n").into_response();
    };
    let Some(lines) = shared.admin.trace(target) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the broker is stopping\n").into_response();
    };
    let kind = HeaderValue::from_static("application/x-ndjson");
    ([(header::CONTENT_TYPE, kind)], Body::new(Lines { lines, _permit: permit })).into_response()
}

struct Lines {
    lines: mpsc::Receiver<TraceLine>,
    /// Held while the trace runs.
    _permit: OwnedSemaphorePermit,
}

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(line) = ready!(self.lines.poll_recv(context)) else { return Poll::Ready(None) };
        // Only strings and numbers: nothing that JSON cannot hold.
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))))
    }
}
