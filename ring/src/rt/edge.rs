//! The edge of a task: a panic that reaches it ends the process, and says where.
//!
//! glommio would end the whole shard without a word.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A future whose panics end the process.
pub(super) struct Edge<F> {
    name: String,
    inner: Pin<Box<F>>,
}

impl<F: Future> Edge<F> {
    pub(super) fn new(name: String, inner: Pin<Box<F>>) -> Self {
        Self { name, inner }
    }
}

impl<F: Future> Future for Edge<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let inner = self.inner.as_mut();
        // Nothing is used after a panic: the process ends.
        match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
            Ok(poll) => poll,
            Err(_) => {
                eprintln!("{} panicked: the process ends, since its sessions have no other home", self.name);
                std::process::abort();
            }
        }
    }
}
