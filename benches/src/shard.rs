//! One shard without sockets: an engine, the memory store, and links whose other ends are the bench's.
//!
//! A turn is that of the `shards` crate: everything received goes in, what the engine wants is done until it wants
//! nothing, then all output is taken and counts as sent. Time stands still. The bench sees the output as bytes.

use bitsim_engine::access::AccessRules;
use bitsim_engine::effect::Effect;
use bitsim_engine::identity::{LinkId, ShardId};
use bitsim_engine::input::{Input, LinkMeta, Verdict};
use bitsim_engine::limits::Limits;
use bitsim_engine::time::Now;
use bitsim_engine::{Engine, EngineConfig};
use bitsim_protocol::encode::{self, Peer, SubscribeOut};
use bitsim_protocol::{Connect, ConnectProperties, Qos, SubscribeOptions, Version};
use bitsim_storage::Memory;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

const NOW: Now = Now { monotonic_ms: 1_000, wall_ms: 1_800_000_000_000 };

pub(crate) struct Shard {
    engine: Engine,
    memory: Memory,
    links: u32,
    /// Given to the engine in exchange for its output.
    spare: Vec<u8>,
}

impl Shard {
    pub(crate) fn new() -> Shard {
        let engine = Engine::new(EngineConfig {
            shard: ShardId(0),
            shards: 1,
            epoch: 1,
            slot_key: 7,
            home_levels: 2,
            seed: 11,
            limits: Arc::new(Limits::default()),
            access: AccessRules::open(),
            now: NOW,
        });
        Shard { engine, memory: Memory::new(1 << 30), links: 0, spare: Vec::new() }
    }

    /// A client of MQTT 3.1.1 that is connected.
    pub(crate) fn client(&mut self) -> LinkId {
        let link = LinkId { slot: self.links, generation: 1 };
        self.links += 1;
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        self.engine.handle(NOW, Input::Open { link, meta: LinkMeta { peer, namespace: 0, anonymous: true } });
        let client_id = format!("client-{}", link.slot);
        let connect = Connect {
            version: Version::V311,
            clean_start: true,
            keep_alive_secs: 0,
            client_id: &client_id,
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties::default(),
        };
        let mut bytes = Vec::new();
        encode::connect(&connect, u32::MAX, &mut bytes).unwrap();
        assert_eq!(self.ask(link, &bytes), [0x20, 2, 0, 0], "CONNACK");
        link
    }

    /// A client with one subscription.
    pub(crate) fn subscriber(&mut self, filter: &str, qos: Qos) -> LinkId {
        let link = self.client();
        let filters = [(filter, SubscribeOptions::at(qos))];
        let subscribe = SubscribeOut { packet_id: 1, filters: &filters, ..SubscribeOut::default() };
        let mut bytes = Vec::new();
        encode::subscribe(Peer::new(Version::V311), &subscribe, &mut bytes).unwrap();
        assert_eq!(self.ask(link, &bytes), [0x90, 3, 0, 1, qos as u8], "SUBACK");
        link
    }

    /// Bytes of a client, to be worked on by the next turn.
    pub(crate) fn received(&mut self, link: LinkId, bytes: &[u8]) {
        self.engine.handle(NOW, Input::Received { link, bytes });
    }

    /// Does what is to be done; `output` sees what is sent to whom.
    pub(crate) fn turn(&mut self, mut output: impl FnMut(LinkId, &[u8])) {
        while let Some(effect) = self.engine.poll_effect() {
            self.effect(effect);
        }
        while let Some(link) = self.engine.poll_output() {
            self.engine.take_output(link, &mut self.spare);
            output(link, &self.spare);
            let bytes = self.spare.len();
            self.spare.clear();
            self.engine.handle(NOW, Input::Sent { link, bytes });
        }
    }

    fn ask(&mut self, link: LinkId, bytes: &[u8]) -> Vec<u8> {
        let mut answer = Vec::new();
        self.received(link, bytes);
        self.turn(|to, bytes| {
            assert_eq!(to, link);
            answer.extend_from_slice(bytes);
        });
        answer
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Store { token, request } => {
                let answer = self.memory.execute(request, NOW.wall_ms);
                self.engine.handle(NOW, Input::Stored { token, answer });
            }
            Effect::Authenticate { link, .. } => {
                self.engine.handle(NOW, Input::Authenticated { link, verdict: Verdict::Accepted });
            }
            other => panic!("no bench leads to {other:?}"),
        }
    }
}
