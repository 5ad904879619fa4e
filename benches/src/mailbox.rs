//! One hop of mail between shards: the mailbox of the `shards` crate, its bell, and the ring that sleeps on it.
//!
//! `queue` is the price of a batch when both shards are busy: it is put in, the bell is rung while its owner is awake, and
//! the batch is taken out. `wake` is the price when both sleep: two threads with a ring each hand one batch to and fro, so that
//! each hop wakes a thread out of its ring; the figure is of one hop. The batch has ten forwarded messages; as
//! it travels by its address, their number does not matter. Every receiver counts them and checks who sent them.

use bitsim_engine::identity::{SessionUid, ShardId};
use bitsim_engine::mail::{Lane, Mail, MailBatch};
use bitsim_engine::message::{Message, MessageRef, NEVER};
use bitsim_protocol::Qos;
use bitsim_ring::{Ring, RingConfig};
use bitsim_shards::{Inbox, Mailbox, pair};
use criterion::Criterion;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A hop that takes so long is lost.
const PATIENCE: Duration = Duration::from_secs(10);
const ITEMS: usize = 10;

pub(crate) fn bench(criterion: &mut Criterion) {
    criterion.bench_function("mailbox/queue", |bencher| {
        let end = End::new(pair());
        let mut travelling = Some(batch());
        bencher.iter(|| {
            post(&end.mailbox, ShardId(1), travelling.take().unwrap());
            travelling = Some(take(&end.inbox, ShardId(1)).unwrap());
        });
    });
    criterion.bench_function("mailbox/wake", |bencher| bencher.iter_custom(to_and_fro));
}

/// A shard's side: its mailbox, with a ring that the bell wakes.
struct End {
    mailbox: Arc<Mailbox>,
    inbox: Inbox,
    ring: Ring,
}

impl End {
    fn new((mailbox, inbox): (impl Into<Arc<Mailbox>>, Inbox)) -> End {
        let ring =
            Ring::new(RingConfig { sq_entries: 64, cq_entries: 128, ..RingConfig::default() }).unwrap();
        let mailbox = mailbox.into();
        mailbox.set_bell(ring.doorbell());
        End { mailbox, inbox, ring }
    }

    /// Sleeps until the other side's batch is there.
    fn receive(&mut self, from: ShardId) -> MailBatch {
        let until = Instant::now() + PATIENCE;
        loop {
            self.ring.reap(usize::MAX);
            while self.ring.next_event().is_some() {}
            if let Some(batch) = take(&self.inbox, from) {
                return batch;
            }
            assert!(Instant::now() < until, "the batch did not arrive");
            self.ring.wait(Some(PATIENCE)).unwrap();
        }
    }
}

/// The time of this many hops of one batch between two threads, half of them each way.
fn to_and_fro(hops: u64) -> Duration {
    let (mine, theirs) = (pair(), pair());
    let (mine_box, their_box) = (Arc::new(mine.0), Arc::new(theirs.0));
    let rounds = hops.div_ceil(2);
    let answering = {
        let (my_end, reply_to) = ((their_box.clone(), theirs.1), mine_box.clone());
        std::thread::spawn(move || {
            let mut end = End::new(my_end);
            for _ in 0..=rounds {
                let batch = end.receive(ShardId(0));
                post(&reply_to, ShardId(1), batch);
            }
        })
    };
    let mut end = End::new((mine_box, mine.1));
    let mut travelling = batch();
    let mut began = Instant::now();
    // The first round is for the other thread to start.
    for round in 0..=rounds {
        post(&their_box, ShardId(0), travelling);
        travelling = end.receive(ShardId(1));
        if round == 0 {
            began = Instant::now();
        }
    }
    // An odd number of hops is rounded up.
    let took = began.elapsed().mul_f64(hops as f64 / (2 * rounds) as f64);
    answering.join().unwrap();
    took
}

fn post(mailbox: &Mailbox, from: ShardId, batch: MailBatch) {
    assert!(mailbox.post(from, batch).is_ok(), "the lane is full");
    mailbox.ring();
}

fn take(inbox: &Inbox, from: ShardId) -> Option<MailBatch> {
    let (sender, batch) = inbox.second.try_recv().ok()?;
    assert_eq!((sender, batch.items.len()), (from, ITEMS));
    Some(batch)
}

fn batch() -> MailBatch {
    let message = Arc::new(Message::new(&MessageRef {
        topic: "plant/7/line/3/temperature",
        properties: &[],
        payload: &[0x5A; 64],
        qos: Qos::AtLeastOnce,
        retain: false,
        expires_at: NEVER,
        publisher: SessionUid(0),
    }));
    let forward = || Mail::Forward { message: message.clone(), place: None };
    MailBatch { lane: Lane::Second, items: (0..ITEMS).map(|_| forward()).collect() }
}
