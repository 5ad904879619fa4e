//! Signals as values on a channel, so that the main loop waits for them beside everything else.

use std::io;

use crossbeam_channel::{Receiver, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A signal that means something to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT.
    Stop,
}

/// Takes the signals over from here on.
///
/// # Errors
/// The system refused a handler or a thread.
pub fn receive() -> io::Result<Receiver<Signal>> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let (sender, receiver) = unbounded();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in &mut signals {
            let signal = if signal == SIGHUP { Signal::Reload } else { Signal::Stop };
            if sender.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal as Number, getpid, kill_process};

    #[test]
    fn signals_arrive_as_values_in_their_order() {
        let signals = receive().expect("handlers");
        for (number, expected) in
            [(Number::HUP, Signal::Reload), (Number::INT, Signal::Stop), (Number::TERM, Signal::Stop)]
        {
            kill_process(getpid(), number).expect("sent to ourselves");
            assert_eq!(signals.recv(), Ok(expected));
        }
    }
}
