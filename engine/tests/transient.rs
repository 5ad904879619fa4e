//! A store that fails for a moment: what the engine tells the client that had asked.
//!
//! Raw packets go in, the test answers as the store, and the outbox is read as the client would. Nothing is promised
//! whose write failed, and the connection whose packet could not be handled is closed.

use std::sync::Arc;

use bitsim_engine::access::AccessRules;
use bitsim_engine::effect::Effect;
use bitsim_engine::identity::{LinkId, ShardId};
use bitsim_engine::input::{Input, LinkMeta};
use bitsim_engine::limits::Limits;
use bitsim_engine::store::{Answer, StoreFailure};
use bitsim_engine::time::Now;
use bitsim_engine::{Engine, EngineConfig};

const LINK: LinkId = LinkId { slot: 0, generation: 1 };
const SUBSCRIBE: &[u8] = &[0x82, 6, 0, 1, 0, 1, b'a', 1];
const UNSUBSCRIBE: &[u8] = &[0xA2, 5, 0, 2, 0, 1, b'a'];

struct Broker {
    engine: Engine,
    works: bool,
    closed: bool,
}

impl Broker {
    /// An engine with one connected 3.1.1 client whose session is kept.
    fn with_client() -> Self {
        let engine = Engine::new(EngineConfig {
            shard: ShardId(0),
            shards: 1,
            epoch: 1,
            slot_key: 1,
            home_levels: 1,
            seed: 1,
            limits: Arc::new(Limits::default()),
            access: AccessRules::open(),
            now: Now::default(),
        });
        let mut broker = Self { engine, works: true, closed: false };
        let peer = ([127, 0, 0, 1], 1).into();
        let meta = LinkMeta { peer, namespace: 0, anonymous: true };
        broker.engine.handle(Now::default(), Input::Open { link: LINK, meta });
        let connect = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 60, 0, 1, b'c'];
        assert_eq!(broker.send(&connect), [0x20, 2, 0, 0]);
        broker
    }

    /// What the client gets for these bytes.
    fn send(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.engine.handle(Now::default(), Input::Received { link: LINK, bytes });
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Store { token, .. } => {
                    let answer =
                        if self.works { Answer::Committed } else { Answer::Failed(StoreFailure::Full) };
                    self.engine.handle(Now::default(), Input::Stored { token, answer });
                }
                Effect::Close { .. } => self.closed = true,
                _ => {}
            }
        }
        let mut out = Vec::new();
        while let Some(link) = self.engine.poll_output() {
            let mut part = Vec::new();
            self.engine.take_output(link, &mut part);
            self.engine.handle(Now::default(), Input::Sent { link, bytes: part.len() });
            out.extend(part);
        }
        out
    }
}

/// [MQTT-4.8.0-2@3.1.1]: for SUBSCRIBE.
#[test]
fn subscription_that_is_not_stored_closes() {
    let mut broker = Broker::with_client();
    broker.works = false;
    assert_eq!(broker.send(SUBSCRIBE), [0_u8; 0], "no SUBACK for what was not stored");
    assert!(broker.closed);
}

/// [MQTT-4.8.0-2@3.1.1]: for UNSUBSCRIBE.
#[test]
fn unsubscription_that_is_not_stored_closes() {
    let mut broker = Broker::with_client();
    assert_eq!(broker.send(SUBSCRIBE), [0x90, 3, 0, 1, 1]);
    broker.works = false;
    assert_eq!(broker.send(UNSUBSCRIBE), [0_u8; 0], "no UNSUBACK for what was not stored");
    assert!(broker.closed);
}
