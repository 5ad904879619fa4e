//! What an engine wants done. Drained by the driver after each input, or after several.
//! Bytes for links and mail for shards are not effects: they wait in `poll_output` and `poll_mail`, to be taken once per turn.

use crate::admin::AdminAnswer;
use crate::identity::LinkId;
use crate::store::{Request, StoreToken};
use std::net::SocketAddr;

/// One wish.
#[derive(Debug)]
pub enum Effect {
    /// Send what is in the link's outbox, then close it. The link is free once the driver has closed it; nothing more is asked of it.
    Close {
        /// The link.
        link: LinkId,
    },
    /// Do not read from the link until `StartReading`; bytes that were read already may still be given.
    StopReading {
        /// The link.
        link: LinkId,
    },
    /// Read on.
    StartReading {
        /// The link.
        link: LinkId,
    },
    /// Ask whether this client may come in, and answer with `Input::Authenticated`.
    Authenticate {
        /// The link.
        link: LinkId,
        /// Who says to be there.
        request: Box<AuthRequest>,
    },
    /// Ask the store, and answer with `Input::Stored`.
    Store {
        /// Comes back with the answer.
        token: StoreToken,
        /// The question.
        request: Request,
    },
    /// Answer to `Input::Admin`.
    Admin {
        /// The question's.
        id: u64,
        /// In pages.
        answer: AdminAnswer,
    },
}

/// Credentials as the client gave them.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthRequest {
    /// User name, if any.
    pub username: Option<Box<str>>,
    /// Password, if any. Not text, by specification.
    pub password: Option<Box<[u8]>>,
    /// Client id, assigned or given.
    pub client_id: Box<str>,
    /// For back-off per address.
    pub peer: SocketAddr,
    /// Listener's namespace.
    pub namespace: u8,
}

impl std::fmt::Debug for AuthRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthRequest")
            .field("username", &self.username)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}
