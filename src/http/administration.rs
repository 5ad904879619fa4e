//! `/admin`: the routes behind the token, each a question to the broker and its answer as JSON.

use std::sync::{Arc, PoisonError};

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use subtle::ConstantTimeEq;

use super::Shared;
use super::query::Parameters;
use super::trace::trace;
use crate::admin::{AdminReply, AdminRequest};

type Parsed = Query<Parameters>;

pub(super) fn router(shared: Arc<Shared>) -> Router<Arc<Shared>> {
    Router::new()
        .route("/clients", get(clients))
        .route("/client", get(client))
        .route("/client/kick", post(kick))
        .route("/sessions", get(sessions))
        .route("/session", get(session).delete(end_session))
        .route("/subscriptions", get(subscriptions))
        .route("/retained", get(retained))
        .route("/slowest", get(slowest))
        .route("/trace", get(trace))
        .fallback(|| async { (StatusCode::NOT_FOUND, "no such page\n") })
        .layer(middleware::from_fn_with_state(shared, authorised))
}

async fn authorised(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let token = shared.token.read().unwrap_or_else(PoisonError::into_inner).clone();
    if token.expose().is_empty() {
        return (StatusCode::FORBIDDEN, "no `http.admin_token` is set, so the administration is closed\n")
            .into_response();
    }
    if !bearer(request.headers()).is_some_and(|given| bool::from(given.ct_eq(token.expose().as_bytes()))) {
        let challenge = HeaderValue::from_static("Bearer");
        return (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, challenge)],
            "the token is missing or wrong\n",
        )
            .into_response();
    }
    next.run(request).await
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

async fn clients(State(shared): State<Arc<Shared>>, Query(query): Parsed) -> Response {
    answer(&shared, AdminRequest::Clients(query.page())).await
}

async fn client(State(shared): State<Arc<Shared>>, Query(query): Parsed) -> Response {
    match query.client() {
        Ok(key) => answer(&shared, AdminRequest::Client(key)).await,
        Err(error) => error.into_response(),
    }
}

async fn kick(State(shared): State<Arc<Shared>>, Query(query): Parsed) -> Response {
    match query.client() {
        Ok(key) => {
            tracing::info!(namespace = ?key.namespace, client = ?key.client_id, "kicked by the administration");
            answer(&shared, AdminRequest::Kick(key)).await
        }
        Err(error) => error.into_response(),
    }
}

async fn sessions(State(shared): State<Arc<Shared>>, Query(query): Parsed) -> Response {
    answer(&shared, AdminRequest::Sessions(query.page())).await
}

async fn session(State(shared): State<Arc<Shared>>, Query(query): Parsed) -> Response {
    match query.client() {
        Ok(key) => answer(&shared, AdminRequest::Session(key)).await,
        Err(error) => error.into_response(),
    }
}

async fn end_session(State(shared): State<Arc<Shared>>, Query(query): Parsed) -> Response {
    match query.client() {
        Ok(key) => {
            tracing::info!(namespace = ?key.namespace, client = ?key.client_id, "session ended by the administration");
            answer(&shared, AdminRequest::EndSession(key)).await
        }
        Err(error) => error.into_response(),
    }
}

async fn subscriptions(State(shared): State<Arc<Shared>>, Query(query): Parsed) -> Response {
    answer(&shared, AdminRequest::Subscriptions(query.optional_client(), query.page())).await
}

async fn retained(State(shared): State<Arc<Shared>>, Query(query): Parsed) -> Response {
    let filter = query.filter().unwrap_or("#").to_owned();
    answer(&shared, AdminRequest::Retained(filter, query.page())).await
}

async fn slowest(State(shared): State<Arc<Shared>>, Query(query): Parsed) -> Response {
    answer(&shared, AdminRequest::Slowest(query.limit())).await
}

async fn answer(shared: &Shared, request: AdminRequest) -> Response {
    let reply = match shared.ask(request).await {
        Ok(reply) => reply,
        Err(status) => return (status, "a shard did not answer in time\n").into_response(),
    };
    match reply {
        AdminReply::Done => StatusCode::NO_CONTENT.into_response(),
        AdminReply::NotFound => {
            (StatusCode::NOT_FOUND, "there is no such client or session\n").into_response()
        }
        AdminReply::Unavailable | AdminReply::Metrics(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "the broker did not answer\n").into_response()
        }
        reply => match serde_json::to_vec(&reply) {
            Ok(body) => {
                let kind = HeaderValue::from_static("application/json");
                ([(header::CONTENT_TYPE, kind)], body).into_response()
            }
            Err(error) => {
                tracing::error!(%error, "an answer could not be written as JSON");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        },
    }
}
