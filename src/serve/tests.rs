//! Stopping, with a broker that ends when the test says so.

use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::{Broker, Exit, Server, StartError, drain};
use crate::admin::Admin;
use crate::configuration::Configuration;
use crate::settings::Inputs;
use crate::signals::Signal;

struct Fake {
    /// What `begin_shutdown` makes it say; nothing if it hangs.
    last_words: Option<Result<(), String>>,
    sender: Sender<Result<(), String>>,
    receiver: Receiver<Result<(), String>>,
    reloaded: Sender<u32>,
}

impl Fake {
    fn new(last_words: Option<Result<(), String>>) -> (Self, Receiver<u32>) {
        let ((sender, receiver), (reloaded, reloads)) = (unbounded(), unbounded());
        (Self { last_words, sender, receiver, reloaded }, reloads)
    }
}

impl Broker for Fake {
    fn listening(&self) -> Vec<SocketAddr> {
        Vec::new()
    }

    fn admin(&self) -> Arc<dyn Admin> {
        unreachable!("no test asks")
    }

    fn reload(&self, configuration: &Configuration) {
        self.reloaded.send(configuration.settings.packets.bytes_max).expect("the test listens");
    }

    fn begin_shutdown(&self) {
        if let Some(words) = &self.last_words {
            self.sender.send(words.clone()).expect("somebody listens");
        }
    }

    fn ended(&self) -> Receiver<Result<(), String>> {
        self.receiver.clone()
    }
}

#[test]
fn a_broker_that_ends_is_waited_for() {
    let (_signal, signals) = unbounded();
    assert_eq!(drain(&Fake::new(Some(Ok(()))).0, &signals, 600), Exit::Done);
    assert_eq!(drain(&Fake::new(Some(Err("lost".to_owned()))).0, &signals, 600), Exit::Failed);
}

#[test]
fn a_broker_that_hangs_is_not() {
    let (signal, signals) = unbounded();
    assert_eq!(drain(&Fake::new(None).0, &signals, 0), Exit::Forced);
    signal.send(Signal::Reload).expect("sent");
    signal.send(Signal::Stop).expect("sent");
    assert_eq!(drain(&Fake::new(None).0, &signals, 600), Exit::Forced);
}

/// A reload is all or nothing: the file is first good, then wrong, then good again.
#[test]
fn a_wrong_file_leaves_what_is_in_force() {
    let path = std::env::temp_dir().join(format!("bitsim-reload-{}.toml", std::process::id()));
    let inputs = Inputs { file: Some(path.clone()), ..Inputs::default() };
    let write = |text: &str| std::fs::write(&path, text).expect("a temporary file");
    write("packets.bytes_max = 5000\n");
    let (mut configuration, loaded) = Configuration::load(&inputs).expect("a good file");
    let log = crate::logs::start(&loaded.settings.log).expect("the only log of these tests");
    let (fake, reloads) = Fake::new(None);
    let server = Server { broker: Box::new(fake), http: None, signals: unbounded().1 };

    for wrong in [
        "packets.bytes_max = 6000\naccess.rules = [\"allow\"]\n",
        "packets.bytes_max = 6000\nlogin.password_file = \"/nonexistent\"\n",
        "packets.bytes_max = 1\n",
        "packets.bytes_max = 6000\n[",
    ] {
        write(wrong);
        server.reload(&inputs, &mut configuration, &log);
        assert!(reloads.try_recv().is_err(), "{wrong}");
        assert_eq!(configuration.settings.packets.bytes_max, 5000);
    }
    write("packets.bytes_max = 7000\nruntime.shards = 9\n");
    server.reload(&inputs, &mut configuration, &log);
    assert_eq!(reloads.try_recv(), Ok(7000));
    assert_eq!(configuration.settings.runtime.shards, 0, "only a restart changes that");
    std::fs::remove_file(&path).expect("removed");
}

#[test]
fn a_taken_port_is_explained() {
    let address = "127.0.0.1:1883".parse().expect("an address");
    let said = StartError::AddressInUse(address).to_string();
    assert!(said.contains("127.0.0.1:1883 is taken") && said.contains("ss -ltnp"), "{said}");
}
