//! Shards on their executors.

use crate::rig::{alone, small};
use bitsim_ring::rt::{self, Host};
use bitsim_ring::{Doorbell, Event, Ring};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// A loop that rests until its bell rang twice (a woken idle task rings it too) and its tasks are done, and says how often it rested.
async fn bell_loop(host: Host, tell: impl FnOnce(Doorbell)) -> usize {
    let mut ring = Ring::new(small()).unwrap();
    host.set_doorbell(ring.doorbell());
    tell(ring.doorbell());
    let mut rests = 0;
    let mut rung = 0;
    while rung < 2 || host.tasks() > 0 {
        ring.reap(usize::MAX);
        while let Some(event) = ring.next_event() {
            rung += usize::from(matches!(event, Event::Doorbell));
        }
        if rung < 2 || host.tasks() > 0 {
            host.rest(&mut ring, Some(Duration::from_secs(5))).await.unwrap();
            rests += 1;
        }
    }
    rests
}

fn ring_when_asleep(bell: &Doorbell) {
    let start = Instant::now();
    while !bell.is_asleep() {
        assert!(start.elapsed() < Duration::from_secs(10), "the shard does not rest");
        std::thread::yield_now();
    }
    bell.ring();
}

#[test]
fn more_shards_than_cores() {
    let _alone = alone();
    let cores = rt::available_cores();
    let (tell, bells) = channel();
    let shards: Vec<_> = (0..2 * cores.len() + 1)
        .map(|i| {
            let tell = tell.clone();
            let core = cores.get(i % (cores.len() + 1)).copied();
            rt::spawn_shard(core, &format!("shard-{i}"), move |host| {
                bell_loop(host, move |bell| tell.send((i, bell)).unwrap())
            })
            .unwrap()
        })
        .collect();
    let bells: Vec<_> = bells.iter().take(shards.len()).collect();
    for _ in 0..2 {
        for (_, bell) in &bells {
            ring_when_asleep(bell);
        }
    }
    for shard in shards {
        assert!(shard.join().unwrap() >= 2);
    }
}

#[test]
fn a_pinned_shard_runs_on_its_core() {
    let _alone = alone();
    for core in rt::available_cores() {
        let shard = rt::spawn_shard(Some(core), "pinned", |_| async { rt::available_cores() }).unwrap();
        assert_eq!(shard.join().unwrap(), [core]);
    }
    assert!(rt::spawn_shard(Some(1 << 14), "nowhere", |_| async {}).is_err());
}

/// A queue of wakers in the place of a real channel.
#[derive(Default)]
struct Gate {
    passes: AtomicUsize,
    waker: Mutex<Option<Waker>>,
}

impl Gate {
    fn open(&self) {
        self.passes.fetch_add(1, Ordering::AcqRel);
        if let Some(waker) = self.waker.lock().unwrap().take() {
            waker.wake();
        }
    }

    fn has_waiter(&self) -> bool {
        self.waker.lock().unwrap().is_some()
    }

    async fn pass(&self) {
        std::future::poll_fn(|cx| {
            *self.waker.lock().unwrap() = Some(cx.waker().clone());
            match self.passes.load(Ordering::Acquire) {
                0 => Poll::Pending,
                _ => {
                    self.passes.fetch_sub(1, Ordering::AcqRel);
                    *self.waker.lock().unwrap() = None;
                    Poll::Ready(())
                }
            }
        })
        .await;
    }
}

#[test]
fn an_idle_task_asks_for_no_turn_and_wakes_a_sleeping_shard() {
    let _alone = alone();
    let (tell, bell) = channel();
    let gate = Arc::new(Gate::default());
    let theirs = Arc::clone(&gate);
    let shard = rt::spawn_shard(None, "idle", move |host| async move {
        let tasks = host.clone();
        host.spawn_task("gatekeeper", async move {
            for _ in 0..200 {
                tasks.idle_until(theirs.pass()).await;
            }
        });
        let rests = bell_loop(host.clone(), move |bell| tell.send(bell).unwrap()).await;
        assert!(!host.wants_turn());
        rests
    })
    .unwrap();
    let bell = bell.recv().unwrap();
    for _ in 0..200 {
        let start = Instant::now();
        while !(gate.has_waiter() && bell.is_asleep()) {
            assert!(start.elapsed() < Duration::from_secs(10), "the task or the shard hangs");
            std::thread::yield_now();
        }
        gate.open();
    }
    let rests = shard.join().unwrap();
    assert!(rests < 2_000, "{rests} rests: an idle task kept the shard busy");
}

/// Takes a while, always runnable, as file work is.
async fn work(turns: usize) {
    let mut left = turns;
    std::future::poll_fn(|cx| {
        left -= 1;
        cx.waker().wake_by_ref();
        if left == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[test]
fn tasks_run_beside_a_resting_loop() {
    let _alone = alone();
    let (tell, bell) = channel();
    let shard = rt::spawn_shard(None, "tasks", move |host| {
        for _ in 0..10 {
            host.spawn_task("work", work(50));
        }
        bell_loop(host, move |bell| tell.send(bell).unwrap())
    })
    .unwrap();
    let bell = bell.recv().unwrap();
    ring_when_asleep(&bell);
    ring_when_asleep(&bell);
    shard.join().unwrap();
}

const PANIC_VARIABLE: &str = "BITSIM_RING_TEST_PANIC";

/// Run by the test below in a process of its own.
#[test]
fn panic_where_told() {
    match std::env::var(PANIC_VARIABLE).as_deref() {
        Ok("loop") => {
            let shard = rt::spawn_shard(None, "shard-7", |_| async { panic!("on purpose") }).unwrap();
            let () = shard.join().unwrap();
        }
        Ok("task") => {
            let shard = rt::spawn_shard(None, "shard-7", |host| async move {
                host.spawn_task("archivist", async { panic!("on purpose") });
                host.yield_now().await;
            });
            shard.unwrap().join().unwrap();
        }
        _ => {}
    }
}

#[test]
fn a_panic_ends_the_process_and_says_whose_it_was() {
    use std::os::unix::process::ExitStatusExt;
    let _alone = alone();
    for (place, name) in [("loop", "shard-7"), ("task", "archivist")] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "rt::panic_where_told", "--nocapture"])
            .env(PANIC_VARIABLE, place)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{text}");
        assert!(text.contains(&format!("{name} panicked: the process ends")), "{text}");
        assert!(text.contains("on purpose"), "{text}");
    }
}
