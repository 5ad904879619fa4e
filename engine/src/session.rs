//! A session: its subscriptions, its unfinished messages in both directions, its will and its cursors. It outlives its link by the
//! Session Expiry Interval. Rare parts are boxed and made when needed, so that an idle session with one subscription stays small.

use crate::filters::FilterId;
use crate::identity::SessionUid;
use crate::link::{Account, NONE};
use crate::outbound::Outbound;
use crate::readers::Readers;
use crate::record::{SessionRecord, SubscriptionRecord};
use crate::store::{LogId, Offset};
use crate::wheel::TimerId;
use crate::will::Will;
use bitsim_protocol::{Qos, RetainHandling, SubscribeOptions};
use hashbrown::{HashMap, HashTable};
use std::sync::Arc;

/// Options of a subscription in one byte, laid out as in SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options(pub(crate) u8);

impl Options {
    /// Packs them, with the QoS that was granted.
    pub(crate) fn pack(options: SubscribeOptions, granted: Qos) -> Options {
        let handling = match options.retain_handling {
            RetainHandling::Send => 0,
            RetainHandling::SendIfNew => 1,
            RetainHandling::DoNotSend => 2,
        };
        Options(
            granted as u8
                | u8::from(options.no_local) << 2
                | u8::from(options.retain_as_published) << 3
                | handling << 4,
        )
    }

    /// Granted QoS.
    pub(crate) fn qos(self) -> Qos {
        Qos::try_from(self.0 & 3).unwrap_or(Qos::AtMostOnce)
    }

    /// Own publishes are left out.
    pub(crate) fn no_local(self) -> bool {
        self.0 & 4 != 0
    }

    /// RETAIN is passed on as published.
    pub(crate) fn retain_as_published(self) -> bool {
        self.0 & 8 != 0
    }
}

/// What the shard's filter table keeps per subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sub {
    pub(crate) options: Options,
    /// Subscription Identifier, 0: none.
    pub(crate) id: u32,
}

/// Where the text of a filter is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FilterRef {
    /// In the shard's filter table.
    Own(FilterId),
    /// `name/filter` of a shared subscription.
    Shared(Arc<str>),
}

/// A subscription of a session.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) filter: FilterRef,
    pub(crate) sub: Sub,
    /// Exact filters of durable sessions at QoS 1 and 2: the topic's log, and where reading began.
    pub(crate) log: Option<Box<(LogId, Offset)>>,
}

/// Inbound QoS 2: identifiers between PUBLISH and PUBREL, in order; true once PUBREC was sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received(Vec<(u16, bool)>);

impl Received {
    /// Whether the identifier is taken, and if so whether PUBREC has left.
    pub(crate) fn state(&self, id: u16) -> Option<bool> {
        self.0.binary_search_by_key(&id, |e| e.0).ok().and_then(|at| self.0.get(at)).map(|e| e.1)
    }

    /// Takes it, or notes that PUBREC leaves.
    pub(crate) fn set(&mut self, id: u16, acknowledged: bool) {
        match self.0.binary_search_by_key(&id, |e| e.0) {
            Ok(at) => {
                if let Some(entry) = self.0.get_mut(at) {
                    entry.1 = acknowledged;
                }
            }
            Err(at) => self.0.insert(at, (id, acknowledged)),
        }
    }

    /// Frees it. False: it was not taken.
    pub(crate) fn remove(&mut self, id: u16) -> bool {
        match self.0.binary_search_by_key(&id, |e| e.0) {
            Ok(at) => {
                self.0.remove(at);
                true
            }
            Err(_) => false,
        }
    }
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) uid: SessionUid,
    pub(crate) client_id: Box<str>,
    pub(crate) account: Account,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) outbound: Option<Box<Outbound>>,
    pub(crate) received: Option<Box<Received>>,
    pub(crate) will: Option<Box<Will>>,
    pub(crate) readers: Option<Box<Readers>>,
    /// Retained messages still to be sent, by fetch number.
    pub(crate) fetches: Vec<u64>,
    /// Slot of its link, or `NONE`.
    pub(crate) link: u32,
    pub(crate) expiry_secs: u32,
    /// Expiry of the session or delay of the will, while away.
    pub(crate) timer: Option<TimerId>,
    /// Monotonic milliseconds at which it ends, while away.
    pub(crate) ends_at_ms: u64,
    /// Monotonic milliseconds at which its will is due, while away.
    pub(crate) will_at_ms: u64,
    /// Milliseconds UTC; 0: connected.
    pub(crate) away_since_ms: u64,
    pub(crate) namespace: u8,
    /// It had a durable wildcard subscription: homes may hold references for it.
    pub(crate) references: bool,
    /// It outlives its link, or once did: rows of it are in the store, and its messages wait in logs.
    pub(crate) stored: bool,
}

impl Session {
    /// A session without subscriptions or link.
    pub(crate) fn new(
        uid: SessionUid,
        namespace: u8,
        client_id: &str,
        account: Account,
        expiry_secs: u32,
    ) -> Session {
        Session {
            uid,
            client_id: client_id.into(),
            account,
            subscriptions: Vec::new(),
            outbound: None,
            received: None,
            will: None,
            readers: None,
            fetches: Vec::new(),
            link: NONE,
            expiry_secs,
            timer: None,
            ends_at_ms: u64::MAX,
            will_at_ms: u64::MAX,
            away_since_ms: 0,
            namespace,
            references: false,
            stored: false,
        }
    }

    /// It outlives its link.
    pub(crate) fn durable(&self) -> bool {
        self.expiry_secs > 0
    }

    pub(crate) fn outbound(&mut self) -> &mut Outbound {
        self.outbound.get_or_insert_default()
    }

    pub(crate) fn readers(&mut self) -> &mut Readers {
        self.readers.get_or_insert_default()
    }

    /// The row's form. `text` gives a filter's text.
    pub(crate) fn record(&self, text: impl Fn(FilterId) -> String) -> SessionRecord {
        let subscriptions = self
            .subscriptions
            .iter()
            .map(|s| SubscriptionRecord {
                filter: match &s.filter {
                    FilterRef::Own(id) => text(*id),
                    FilterRef::Shared(name) => format!("$share/{name}"),
                },
                options: s.sub.options.0,
                id: s.sub.id,
                log: s.log.as_ref().map_or([0; 11], |l| l.0.encode()),
                start: s.log.as_ref().map_or(0, |l| l.1),
            })
            .collect();
        SessionRecord {
            uid: self.uid.0,
            account: self.account.as_deref().unwrap_or_default().to_owned(),
            expiry_secs: self.expiry_secs,
            away_since_ms: self.away_since_ms,
            subscriptions,
            will: self.will.as_ref().map(|w| w.record()),
        }
    }
}

/// All sessions of a shard.
#[derive(Debug)]
pub(crate) struct Sessions {
    slots: Vec<Option<Session>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    /// Sessions that other shards name by identity: durable ones and members of shared groups.
    pub(crate) by_uid: HashMap<u64, u32, foldhash::fast::FixedState>,
    hasher: foldhash::fast::FixedState,
    pub(crate) len: u64,
}

impl Sessions {
    /// None yet. The seed keys the index.
    pub(crate) fn new(seed: u64) -> Sessions {
        let hasher = foldhash::fast::FixedState::with_seed(seed);
        Sessions {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            by_uid: HashMap::with_hasher(hasher.clone()),
            hasher,
            len: 0,
        }
    }

    fn hash(hasher: &foldhash::fast::FixedState, namespace: u8, client_id: &str) -> u64 {
        use std::hash::BuildHasher;
        hasher.hash_one((namespace, client_id))
    }

    /// By client id.
    pub(crate) fn find(&self, namespace: u8, client_id: &str) -> Option<u32> {
        let hash = Sessions::hash(&self.hasher, namespace, client_id);
        self.index
            .find(hash, |at| {
                self.get(*at).is_some_and(|s| s.namespace == namespace && *s.client_id == *client_id)
            })
            .copied()
    }

    /// By identity; only those that were registered.
    pub(crate) fn by_uid(&self, uid: SessionUid) -> Option<u32> {
        self.by_uid.get(&uid.0).copied()
    }

    /// Adds one.
    pub(crate) fn insert(&mut self, session: Session) -> u32 {
        let hash = Sessions::hash(&self.hasher, session.namespace, &session.client_id);
        if session.durable() {
            self.by_uid.insert(session.uid.0, NONE);
        }
        let uid = session.uid.0;
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
            }
        };
        if let Some(slot) = self.slots.get_mut(at as usize) {
            *slot = Some(session);
        }
        if let Some(known) = self.by_uid.get_mut(&uid) {
            *known = at;
        }
        self.len += 1;
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.index.insert_unique(hash, at, |at| {
            slots
                .get(*at as usize)
                .and_then(|s| s.as_ref())
                .map_or(0, |s| Sessions::hash(hasher, s.namespace, &s.client_id))
        });
        at
    }

    /// Makes it known by identity.
    pub(crate) fn register(&mut self, at: u32) {
        if let Some(uid) = self.get(at).map(|s| s.uid.0) {
            self.by_uid.insert(uid, at);
        }
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, at: u32) -> Option<Session> {
        let session = self.slots.get_mut(at as usize)?.take()?;
        let hash = Sessions::hash(&self.hasher, session.namespace, &session.client_id);
        if let Ok(entry) = self.index.find_entry(hash, |x| *x == at) {
            entry.remove();
        }
        self.by_uid.remove(&session.uid.0);
        self.free.push(at);
        self.len -= 1;
        Some(session)
    }

    /// By index.
    #[inline]
    pub(crate) fn get(&self, at: u32) -> Option<&Session> {
        self.slots.get(at as usize)?.as_ref()
    }

    /// By index, to be changed.
    #[inline]
    pub(crate) fn get_mut(&mut self, at: u32) -> Option<&mut Session> {
        self.slots.get_mut(at as usize)?.as_mut()
    }

    /// All, in index order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Session)> {
        (0..).zip(self.slots.iter()).filter_map(|(at, s)| s.as_ref().map(|s| (at, s)))
    }

    /// Heap bytes of the table itself.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Option<Session>>() + self.index.capacity() * 5
    }
}
