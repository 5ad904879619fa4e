//! The HTTP listener: health, readiness, version, metrics, and the administration behind a token.
//!
//! It has a thread of its own with a single-threaded tokio runtime, off the shards' cores where there are others,
//! and reaches the broker only through `Admin`. Everything is bounded: connections, the size and time of a request's
//! head, the time of an answer, traces. No request has a body that is read.

mod administration;
mod query;
mod trace;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, oneshot};

use crate::admin::{Admin, AdminReply, AdminRequest};
use crate::metrics;
use crate::settings::{Http, Secret};

/// Longest head of a request; client ids and filters travel in it.
const HEAD_BYTES_MAX: usize = 256 << 10;
/// Time for the head of a request, and silence allowed between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// How far the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// It does not accept MQTT clients yet.
    Starting,
    /// It accepts them.
    Ready,
    /// It sends them away.
    Stopping,
}

/// What the handlers share.
struct Shared {
    phase: AtomicU8,
    token: RwLock<Secret>,
    admin: Arc<dyn Admin>,
    request_timeout: Duration,
    traces: Arc<Semaphore>,
}

/// The running listener. Dropping it ends its thread, and with it open requests.
pub struct HttpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Listens, and answers on a thread of its own, which runs on `cores` if there are any.
    ///
    /// # Errors
    /// The address cannot be bound, or the system gave no thread.
    pub fn start(
        address: SocketAddr,
        settings: &Http,
        admin: Arc<dyn Admin>,
        cores: Vec<usize>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let connections = usize::try_from(settings.connections_max).unwrap_or(1);
        let shared = Arc::new(Shared {
            phase: AtomicU8::new(Phase::Starting as u8),
            token: RwLock::new(settings.admin_token.clone()),
            admin,
            request_timeout: Duration::from_millis(settings.request_timeout_ms),
            traces: Arc::new(Semaphore::new(usize::try_from(settings.traces_max).unwrap_or(0))),
        });
        let router = router(shared.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("http".to_owned()).spawn(move || {
            crate::host::run_on(&cores);
            runtime.block_on(async {
                let accepting = tokio::spawn(async move {
                    if let Err(error) = accept(listener, router, connections).await {
                        tracing::error!(%error, "the HTTP listener ended");
                    }
                });
                // Ends when the server is dropped.
                let _ = stopped.await;
                accepting.abort();
            });
        })?;
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// The address it listens on, with the port that port 0 became.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what `/readyz` says.
    pub fn set_phase(&self, phase: Phase) {
        self.shared.phase.store(phase as u8, Ordering::Release);
    }

    /// Puts a new token in force.
    pub fn set_token(&self, token: Secret) {
        *self.shared.token.write().unwrap_or_else(PoisonError::into_inner) = token;
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported there.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, router: Router, connections_max: usize) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(connections_max));
    loop {
        // The permit comes first: while there is none, connections wait in the kernel's backlog.
        let Ok(permit) = room.clone().acquire_owned().await else { return Ok(()) };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, or the peer went away. Accepting again at once would spin.
                tracing::warn!(%error, "an HTTP connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP connection ended");
            }
            drop(permit);
        });
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/version", get(|| async { concat!(env!("CARGO_PKG_VERSION"), "\n") }))
        .route("/metrics", get(metrics_text))
        .nest("/admin", administration::router(shared.clone()))
        .with_state(shared)
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let phase = shared.phase.load(Ordering::Acquire);
    if phase == Phase::Ready as u8 {
        return "ready\n".into_response();
    }
    let why = if phase == Phase::Starting as u8 { "starting\n" } else { "stopping\n" };
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

async fn metrics_text(State(shared): State<Arc<Shared>>) -> Response {
    match shared.ask(AdminRequest::Metrics).await {
        Ok(AdminReply::Metrics(mut samples)) => {
            samples.extend(crate::host::process_metrics());
            let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
            ([(header::CONTENT_TYPE, kind)], metrics::encode(&samples)).into_response()
        }
        Ok(_) => (StatusCode::SERVICE_UNAVAILABLE, "the shards did not answer\n").into_response(),
        Err(status) => status.into_response(),
    }
}

impl Shared {
    /// Asks the broker, for as long as a request may take.
    async fn ask(&self, request: AdminRequest) -> Result<AdminReply, StatusCode> {
        match tokio::time::timeout(self.request_timeout, self.admin.ask(request)).await {
            Ok(reply) => Ok(reply.unwrap_or(AdminReply::Unavailable)),
            Err(_) => Err(StatusCode::GATEWAY_TIMEOUT),
        }
    }
}

#[cfg(test)]
mod tests;
