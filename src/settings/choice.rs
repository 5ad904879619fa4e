//! Settings that are one of a few words, as enums, so that no later code compares strings.

/// Who may connect to a listener without a user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anonymous {
    /// Everybody if the listener is bound to loopback and there is no password file; nobody otherwise.
    Auto,
    /// Everybody.
    Allow,
    /// Nobody.
    Deny,
}

/// Whether messages of a topic class may have a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// A topic has a log while a durable session wants it at QoS 1 or 2.
    Auto,
    /// Never: such a message is delivered to who is there, and kept for nobody.
    Never,
}

/// What SUBACK says of a filter that the access rules refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedFilter {
    /// Not authorized, 0x87.
    NotAuthorized,
    /// Unspecified error, 0x80.
    Unspecified,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The least important line that is still written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Errors alone.
    Error,
    /// And what an operator should look at.
    Warn,
    /// And what happened in the large.
    Info,
    /// And each connection.
    Debug,
    /// And each packet.
    Trace,
}
