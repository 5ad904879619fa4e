//! The listener over real sockets, with a broker that answers from a table.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};

use super::{HttpServer, Phase};
use crate::admin::{
    Admin, AdminReply, AdminRequest, ClientKey, Page, PageRequest, RetainedInfo, TraceLine, TraceTarget,
};
use crate::metrics::Sample;
use crate::settings::{Http, Secret};

const TOKEN: &str = "a-token-of-enough-bytes";

#[derive(Default)]
struct Broker {
    asked: Mutex<Vec<AdminRequest>>,
    /// Questions nobody answers are kept open here.
    silent: Mutex<Vec<oneshot::Sender<AdminReply>>>,
    traces: Mutex<Vec<mpsc::Sender<TraceLine>>>,
}

impl Admin for Broker {
    fn ask(&self, request: AdminRequest) -> oneshot::Receiver<AdminReply> {
        let (sender, receiver) = oneshot::channel();
        let reply = match &request {
            AdminRequest::Metrics => {
                AdminReply::Metrics(vec![Sample::gauge("bitsim_connections", "Connections.", 3)])
            }
            AdminRequest::Kick(key) if key.client_id == "here/1" => AdminReply::Done,
            AdminRequest::Kick(_) => AdminReply::NotFound,
            AdminRequest::Retained(filter, _) => {
                let info = RetainedInfo {
                    topic: format!("{filter}\u{1b}\""),
                    qos: 1,
                    payload_bytes: 2,
                    expires_in_secs: None,
                };
                AdminReply::Retained(Page { items: vec![info], next: Some("n".to_owned()) })
            }
            AdminRequest::Slowest(_) => {
                self.silent.lock().expect("lock").push(sender);
                return receiver;
            }
            _ => AdminReply::Unavailable,
        };
        self.asked.lock().expect("lock").push(request);
        let _ = sender.send(reply);
        receiver
    }

    fn trace(&self, target: TraceTarget) -> Option<mpsc::Receiver<TraceLine>> {
        let TraceTarget::Client(key) = target else { return None };
        let (sender, receiver) = mpsc::channel(4);
        let line = TraceLine { at_ms: 1, key, event: "in PUBLISH", detail: "a\nb".to_owned(), missed: 0 };
        sender.try_send(line).expect("room");
        self.traces.lock().expect("lock").push(sender);
        Some(receiver)
    }
}

fn start(change: impl FnOnce(&mut Http)) -> (HttpServer, Arc<Broker>) {
    let mut settings = Http { admin_token: Secret::from(TOKEN.to_owned()), ..Http::default() };
    change(&mut settings);
    let broker = Arc::new(Broker::default());
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = HttpServer::start(address, &settings, broker.clone(), Vec::new()).expect("a free port");
    (server, broker)
}

fn send(server: &HttpServer, method: &str, path: &str, token: Option<&str>) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).expect("it listens");
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{authorization}\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    stream
}

/// Status and everything behind the status line.
fn request(server: &HttpServer, method: &str, path: &str, token: Option<&str>) -> (u16, String) {
    let mut text = String::new();
    send(server, method, path, token).read_to_string(&mut text).expect("an answer");
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, text)
}

#[test]
fn health_readiness_version_and_metrics_need_no_token() {
    let (server, _) = start(|_| {});
    assert_eq!(request(&server, "GET", "/healthz", None).0, 200);
    assert_eq!(request(&server, "GET", "/readyz", None).0, 503);
    server.set_phase(Phase::Ready);
    assert_eq!(request(&server, "GET", "/readyz", None).0, 200);
    server.set_phase(Phase::Stopping);
    assert_eq!(request(&server, "GET", "/readyz", None).0, 503);
    assert!(request(&server, "GET", "/version", None).1.contains(env!("CARGO_PKG_VERSION")));
    let (status, text) = request(&server, "GET", "/metrics", None);
    assert_eq!(status, 200);
    assert!(text.contains("\nbitsim_connections 3\n") && text.contains("\nprocess_open_fds "), "{text}");
    assert_eq!(request(&server, "GET", "/elsewhere", None).0, 404);
}

#[test]
fn the_administration_is_behind_its_token() {
    let (server, broker) = start(|_| {});
    let longer = format!("{TOKEN}x");
    for token in [None, Some(""), Some("a-token-of-enough-bytez"), Some(longer.as_str()), Some("a")] {
        for path in ["/admin/clients", "/admin/nothing", "/admin/trace?id=a"] {
            assert_eq!(request(&server, "GET", path, token).0, 401, "{path} {token:?}");
        }
        assert_eq!(request(&server, "POST", "/admin/client/kick?id=here/1", token).0, 401);
    }
    assert!(broker.asked.lock().expect("lock").is_empty(), "no question got through");
    assert_eq!(request(&server, "POST", "/admin/client/kick?id=here/1", Some(TOKEN)).0, 204);
    server.set_token(Secret::default());
    assert_eq!(request(&server, "GET", "/admin/clients", Some(TOKEN)).0, 403, "without a token it is closed");
    assert_eq!(request(&server, "GET", "/admin/clients", Some("")).0, 403);
}

#[test]
fn questions_carry_their_parameters_and_answers_are_escaped() {
    let (server, broker) = start(|_| {});
    let (status, text) =
        request(&server, "GET", "/admin/retained?filter=a%2F%23&after=x%20y&limit=65535", Some(TOKEN));
    assert_eq!(status, 200);
    assert!(
        text.contains(r##"{"items":[{"topic":"a/#\u001b\"","##) && text.ends_with(r#""next":"n"}"#),
        "{text}"
    );
    assert_eq!(
        broker.asked.lock().expect("lock").pop(),
        Some(AdminRequest::Retained(
            "a/#".to_owned(),
            PageRequest { after: Some("x y".to_owned()), limit: crate::admin::PAGE_ITEMS_MAX }
        ))
    );
    assert_eq!(request(&server, "POST", "/admin/client/kick?id=gone&namespace=n", Some(TOKEN)).0, 404);
    let key = ClientKey { namespace: "n".to_owned(), client_id: "gone".to_owned() };
    assert_eq!(broker.asked.lock().expect("lock").pop(), Some(AdminRequest::Kick(key)));
    for path in ["/admin/client", "/admin/clients?limit=many", "/admin/clients?idd=x", "/admin/trace"] {
        assert_eq!(request(&server, "GET", path, Some(TOKEN)).0, 400, "{path}");
    }
    assert_eq!(request(&server, "GET", "/admin/clients", Some(TOKEN)).0, 503);
}

#[test]
fn an_answer_that_does_not_come_is_not_waited_for() {
    let (server, _broker) = start(|settings| settings.request_timeout_ms = 100);
    assert_eq!(request(&server, "GET", "/admin/slowest", Some(TOKEN)).0, 504);
}

#[test]
fn a_trace_streams_lines_and_their_number_is_bounded() {
    let (server, broker) = start(|settings| settings.traces_max = 1);
    let mut lines = BufReader::new(send(&server, "GET", "/admin/trace?id=c", Some(TOKEN))).lines();
    let first = lines.find_map(|line| line.ok().filter(|line| line.starts_with('{'))).expect("a line");
    assert!(first.contains(r#""client_id":"c""#) && first.contains(r#""detail":"a\nb""#), "{first}");
    assert_eq!(request(&server, "GET", "/admin/trace?id=d", Some(TOKEN)).0, 429);
    let sender = broker.traces.lock().expect("lock").pop().expect("the trace");
    drop(lines);
    // The broker notices that nobody listens any more.
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(sender.closed());
}

#[test]
fn more_connections_than_allowed_wait() {
    let (server, _) = start(|settings| settings.connections_max = 1);
    let idle = TcpStream::connect(server.address()).expect("it listens");
    let mut waiting = send(&server, "GET", "/healthz", None);
    drop(idle);
    let mut text = String::new();
    waiting.read_to_string(&mut text).expect("an answer once there is room");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}
