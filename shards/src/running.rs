//! Starting shards, and what the rest of the process can ask of them.

use crate::arrival::Spread;
use crate::config::{ListenerConfig, ShardsConfig, StartError};
use crate::gate::Gate;
use crate::post::{Control, Inbox, Mailbox, Report, pair};
use crate::rate::{Rate, Rates};
use crate::shard::Shard;
use crate::turn::run;
use bitsim_engine::access::AccessRules;
use bitsim_engine::admin::{AdminAnswer, AdminRequest};
use bitsim_engine::identity::ShardId;
use bitsim_engine::limits::Limits;
use bitsim_engine::time::Now;
use bitsim_engine::{Engine, EngineConfig};
use bitsim_ring::rt::{ShardThread, available_cores, spawn_shard};
use bitsim_ring::{AddressClaim, ListenError, Ring, RingConfig};
use bitsim_storage::Store;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shards at work.
pub struct Running {
    boxes: Arc<[Mailbox]>,
    addresses: Vec<SocketAddr>,
    threads: Mutex<Vec<ShardThread<()>>>,
    store: Arc<dyn Store>,
    _claims: Vec<AddressClaim>,
}

/// Binds every address, then starts the shards; answers when all of them run.
pub fn start(config: ShardsConfig) -> Result<Running, StartError> {
    let shards = config.shards.max(1);
    let claims = config
        .listeners
        .iter()
        .map(|l| AddressClaim::new(l.addr).map_err(listen_error))
        .collect::<Result<Vec<_>, _>>()?;
    let (boxes, inboxes): (Vec<Mailbox>, Vec<Inbox>) = (0..shards).map(|_| pair()).unzip();
    let (boxes, config, began) = (Arc::<[Mailbox]>::from(boxes), Arc::new(config), Instant::now());
    let gate = Arc::new(Gate::default());
    let seeds = (0..shards)
        .zip(inboxes)
        .map(|(number, inbox)| {
            let sockets = claims.iter().map(|c| c.listener(config.backlog).map_err(listen_error));
            Ok(Seed {
                number: ShardId(number),
                inbox,
                sockets: sockets.collect::<Result<Vec<_>, _>>()?,
                boxes: boxes.clone(),
                gate: gate.clone(),
                config: config.clone(),
                began,
            })
        })
        .collect::<Result<Vec<_>, StartError>>()?;
    let running = Running {
        boxes,
        addresses: claims.iter().map(AddressClaim::address).collect(),
        threads: Mutex::default(),
        store: config.store.clone(),
        _claims: claims,
    };
    let cores = config.cores.clone().filter(|c| !c.is_empty()).unwrap_or_else(available_cores);
    match running.spawn(seeds, &cores) {
        Ok(()) => Ok(running),
        Err(error) => {
            running.drain();
            Err(error)
        }
    }
}

fn tell(ready: &Sender<Result<(), StartError>>, outcome: Result<(), StartError>) {
    // The starter waits for every shard, unless another one failed.
    drop(ready.send(outcome));
}

/// What a shard is made of, on its own thread.
struct Seed {
    number: ShardId,
    inbox: Inbox,
    sockets: Vec<OwnedFd>,
    boxes: Arc<[Mailbox]>,
    gate: Arc<Gate>,
    config: Arc<ShardsConfig>,
    began: Instant,
}

impl Seed {
    fn grow(self) -> Result<Shard, StartError> {
        let (config, template) = (&self.config, &self.config.engine);
        let mut ring = Ring::new(RingConfig {
            sq_entries: config.ring.entries,
            buffers: config.ring.buffers,
            buffer_bytes: u32::try_from(config.ring.buffer_bytes).unwrap_or(u32::MAX),
            min_wait_us: config.ring.min_wait_us,
            ..RingConfig::default()
        })
        .map_err(|error| StartError::Host(error.to_string()))?;
        if let Some(mailbox) = self.boxes.get(usize::from(self.number.0)) {
            mailbox.set_bell(ring.doorbell());
        }
        let bell = ring.doorbell();
        config.store.on_answer(self.number, Arc::new(move || bell.ring()));
        let listeners = self
            .sockets
            .into_iter()
            .zip(&config.listeners)
            .map(|(socket, listener): (OwnedFd, &ListenerConfig)| {
                (ring.add_listener(socket), listener.namespace, listener.anonymous)
            })
            .collect();
        let shards = config.shards.max(1);
        let engine = Engine::new(EngineConfig {
            shard: self.number,
            shards,
            epoch: template.epoch,
            slot_key: template.slot_key,
            home_levels: template.home_levels,
            seed: template.seed,
            limits: template.limits.clone(),
            access: template.access.clone(),
            now: Now::default(),
        });
        Ok(Shard {
            id: self.number,
            ring,
            engine,
            slots: Vec::new(),
            arrivals: HashMap::new(),
            listeners,
            refused_accepts: Vec::new(),
            goodbyes: VecDeque::new(),
            pool: Vec::new(),
            inbox: self.inbox,
            boxes: self.boxes,
            store: config.store.clone(),
            answers: Vec::new(),
            login: config.login.clone(),
            spread: Spread::new(shards, template.slot_key, &template.limits),
            connect_timeout_ms: template.limits.connect_timeout_ms,
            gate: self.gate,
            connections_max: template.limits.connections_max,
            rates: Rates::new(Rate::new(&template.limits)),
            start: self.began,
            now: Now::default(),
            next_report_ms: 0,
            sys_interval_ms: u64::try_from(config.sys_interval.as_millis()).unwrap_or(0),
            next_sys_ms: 0,
            clients_max: 0,
            version: config.version.clone(),
            report: Report::default(),
            asked: HashMap::new(),
            last_ask: 0,
            draining_until: None,
            pending: Vec::new(),
            stuck: Vec::new(),
            unanswered: 0,
            warm: Vec::new(),
        })
    }
}

impl Running {
    /// Starts a thread for each seed and waits until all have grown.
    fn spawn(&self, seeds: Vec<Seed>, cores: &[usize]) -> Result<(), StartError> {
        let count = seeds.len();
        let (ready, readies) = bounded(count);
        for (seed, core) in seeds.into_iter().zip(cores.iter().copied().cycle()) {
            let (ready, name) = (ready.clone(), format!("shard-{}", seed.number.0));
            let thread = spawn_shard(Some(core), &name, move |host| async move {
                match seed.grow() {
                    Ok(shard) => {
                        tell(&ready, Ok(()));
                        drop(ready);
                        run(shard, host).await;
                    }
                    Err(error) => tell(&ready, Err(error)),
                }
            });
            let thread = thread.map_err(|error| StartError::Host(error.to_string()))?;
            self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        drop(ready);
        let ended = || Err(StartError::Host("a shard ended before it began".to_owned()));
        (0..count).try_for_each(|_| readies.recv().unwrap_or_else(|_| ended()))
    }

    /// The addresses it accepts on, in the order of the listeners, with the ports that port 0 became.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        u16::try_from(self.boxes.len()).unwrap_or(u16::MAX)
    }

    /// New limits and rules for every shard.
    pub fn reload(&self, limits: Arc<Limits>, access: Arc<AccessRules>) {
        for mailbox in self.boxes.iter() {
            mailbox.tell(Control::Reload(limits.clone(), access.clone()));
        }
    }

    /// What each shard last said of itself, at most a second old.
    pub fn reports(&self) -> Vec<Report> {
        self.boxes.iter().map(Mailbox::report).collect()
    }

    /// What each shard says of itself now; one that does not answer in time is represented by its last report.
    pub fn counters(&self, patience: Duration) -> Vec<Report> {
        let deadline = Instant::now() + patience;
        let ask = |mailbox: &Mailbox| {
            let (answer, answers) = bounded(1);
            mailbox.tell(Control::Report(answer));
            answers
        };
        let asked: Vec<Receiver<Report>> = self.boxes.iter().map(ask).collect();
        let answered = asked.iter().zip(self.boxes.iter());
        answered.map(|(answers, b)| answers.recv_deadline(deadline).unwrap_or_else(|_| b.report())).collect()
    }

    /// Asks one shard. A receiver that yields nothing: the shard has ended.
    pub fn admin(&self, shard: u16, request: AdminRequest) -> Receiver<AdminAnswer> {
        let (answer, answers) = bounded(1);
        if let Some(mailbox) = self.boxes.get(usize::from(shard)) {
            mailbox.tell(Control::Admin(request, answer));
        }
        answers
    }

    /// Accepts no more, tells clients, flushes, waits until every shard has ended (each within 10 s), then for the store.
    pub fn drain(&self) {
        for mailbox in self.boxes.iter() {
            mailbox.tell(Control::Drain);
        }
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // A panic in a shard ends the process; there is no other way to fail.
            drop(thread.join());
        }
        self.store.flush();
    }
}

fn listen_error(error: ListenError) -> StartError {
    match error {
        ListenError::AddressInUse { address } => StartError::AddressInUse(address),
        ListenError::AddressNotAvailable { address } => {
            StartError::Bind(address, io::ErrorKind::AddrNotAvailable.into())
        }
        ListenError::PermissionDenied { address } => {
            StartError::Bind(address, io::ErrorKind::PermissionDenied.into())
        }
        ListenError::Failed { address, error } => {
            StartError::Bind(address, io::Error::from_raw_os_error(error.0))
        }
    }
}
