//! Checks of logs: append, read, head, trim, drop.

use bitsim_engine::store::{Answer, LogId, LogKind, Request, Write};
use bytes::Bytes;

use super::desk::{Desk, Outcome, append, log, read};
use super::{Check, Desks};
use crate::contract::RECORD_BYTES_MAX;

pub(super) const CHECKS: &[Check] = &[
    Check { name: "a log begins at its first append", run: begins },
    Check { name: "records read back byte for byte and in order", run: reads_back },
    Check { name: "a record has at most 2 MiB", run: record_bound },
    Check { name: "offsets rise", run: offsets_rise },
    Check { name: "a gap needs a higher epoch", run: gaps },
    Check { name: "trim removes what is below and keeps the head", run: trim },
    Check { name: "trim moves the trim point forward only, to one past the head at most", run: trim_bounds },
    Check { name: "drop removes the head too, and the log may begin again", run: drop_log },
    Check { name: "trim and drop of no log do nothing", run: no_log },
    Check { name: "logs differ by slot, kind and number", run: logs_are_apart },
    Check { name: "a read is bounded by records", run: read_by_records },
    Check { name: "a read is bounded by bytes, but holds a record if there is one", run: read_by_bytes },
    Check { name: "a read begins at the next record there is", run: read_from },
];

fn begins(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    desk.head(log(1), 0, 0)?;
    desk.records(log(1), &[], 0)?;
    desk.commit(vec![append(log(1), 1 << 40 | 9, b"x")])?;
    desk.head(log(1), 1 << 40 | 9, 0)?;
    desk.records(log(1), &[(1 << 40 | 9, b"x")], 1 << 40 | 9)
}

fn reads_back(desks: &mut Desks<'_>) -> Outcome {
    let all: Vec<u8> = (0..=255).collect();
    let large = vec![0xA5; 70_000];
    let desk = &mut desks.one;
    desk.commit(vec![append(log(1), 1, b""), append(log(1), 2, &all)])?;
    desk.commit(vec![append(log(1), 3, &large)])?;
    desk.records(log(1), &[(1, b""), (2, &all), (3, &large)], 3)
}

fn record_bound(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    let most = vec![1; RECORD_BYTES_MAX];
    let over = vec![1; RECORD_BYTES_MAX + 1];
    desk.commit(vec![append(log(1), 1, &most)])?;
    desk.invalid(Request::Commit(vec![append(log(1), 2, &over)]))?;
    desk.records(log(1), &[(1, &most)], 1)
}

fn offsets_rise(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    desk.invalid(Request::Commit(vec![append(log(1), 0, b"x")]))?;
    desk.head(log(1), 0, 0)?;
    desk.commit(vec![append(log(1), 5, b"x")])?;
    for offset in [0, 1, 4, 5] {
        desk.invalid(Request::Commit(vec![append(log(1), offset, b"y")]))?;
    }
    desk.invalid(Request::Commit(vec![append(log(1), 6, b"y"), append(log(1), 6, b"z")]))?;
    desk.records(log(1), &[(5, b"x")], 5)?;
    desk.commit(vec![append(log(1), 6, b"y"), append(log(1), 7, b"z")])?;
    desk.records(log(1), &[(5, b"x"), (6, b"y"), (7, b"z")], 7)
}

fn gaps(desks: &mut Desks<'_>) -> Outcome {
    let (first, later) = (1_u64 << 40, 3_u64 << 40);
    let desk = &mut desks.one;
    desk.commit(vec![append(log(1), first + 1, b"a")])?;
    desk.invalid(Request::Commit(vec![append(log(1), first + 3, b"b")]))?;
    desk.commit(vec![append(log(1), later + 8, b"b")])?;
    desk.invalid(Request::Commit(vec![append(log(1), first + 2, b"c")]))?;
    desk.commit(vec![append(log(1), later + 9, b"c")])?;
    desk.records(log(1), &[(first + 1, b"a"), (later + 8, b"b"), (later + 9, b"c")], later + 9)
}

fn trim(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    fill(desk, log(1), 10)?;
    desk.commit(vec![Write::Trim { log: log(1), to: 9 }])?;
    desk.head(log(1), 10, 9)?;
    desk.records(log(1), &[(9, &[9]), (10, &[10])], 10)?;
    desk.commit(vec![Write::Trim { log: log(1), to: 11 }])?;
    desk.records(log(1), &[], 10)?;
    desk.head(log(1), 10, 11)?;
    desk.invalid(Request::Commit(vec![append(log(1), 10, b"again")]))?;
    desk.commit(vec![append(log(1), 11, b"on")])?;
    desk.records(log(1), &[(11, b"on")], 11)
}

fn trim_bounds(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    fill(desk, log(1), 5)?;
    desk.commit(vec![Write::Trim { log: log(1), to: 0 }])?;
    desk.head(log(1), 5, 0)?;
    desk.commit(vec![Write::Trim { log: log(1), to: 3 }])?;
    desk.commit(vec![Write::Trim { log: log(1), to: 2 }])?;
    desk.head(log(1), 5, 3)?;
    desk.commit(vec![Write::Trim { log: log(1), to: u64::MAX }])?;
    desk.head(log(1), 5, 6)?;
    desk.commit(vec![append(log(1), 6, b"x")])?;
    desk.records(log(1), &[(6, b"x")], 6)
}

fn drop_log(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    fill(desk, log(1), 5)?;
    desk.commit(vec![Write::Trim { log: log(1), to: 3 }])?;
    desk.commit(vec![Write::Drop { log: log(1) }])?;
    desk.head(log(1), 0, 0)?;
    desk.records(log(1), &[], 0)?;
    desk.commit(vec![append(log(1), 2, b"new")])?;
    desk.head(log(1), 2, 0)?;
    desk.commit(vec![Write::Drop { log: log(1) }, append(log(1), 1, b"newer")])?;
    desk.records(log(1), &[(1, b"newer")], 1)
}

fn no_log(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    desk.commit(vec![Write::Trim { log: log(1), to: 9 }, Write::Drop { log: log(2) }])?;
    desk.head(log(1), 0, 0)?;
    desk.commit(vec![append(log(1), 1, b"x")])?;
    desk.records(log(1), &[(1, b"x")], 1)?;
    desk.head(log(1), 1, 0)
}

fn logs_are_apart(desks: &mut Desks<'_>) -> Outcome {
    let ids = [
        LogId { slot: 7, kind: LogKind::Topic, number: 1 },
        LogId { slot: 7, kind: LogKind::References, number: 1 },
        LogId { slot: 8, kind: LogKind::Topic, number: 1 },
        LogId { slot: 7, kind: LogKind::Topic, number: 1 << 56 },
        LogId { slot: 1023, kind: LogKind::Topic, number: u64::MAX },
    ];
    let desk = &mut desks.one;
    for (id, record) in ids.iter().zip([b"a", b"b", b"c", b"d", b"e"]) {
        desk.commit(vec![append(*id, 1, record)])?;
    }
    for (id, record) in ids.iter().zip([b"a", b"b", b"c", b"d", b"e"]) {
        desk.records(*id, &[(1, record)], 1)?;
    }
    desk.commit(vec![Write::Drop { log: log(1) }])?;
    desk.records(log(1), &[], 0)?;
    ids.iter().skip(1).try_for_each(|id| desk.head(*id, 1, 0))
}

fn read_by_records(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    fill(desk, log(1), 10)?;
    for records_max in 1..=12 {
        let request = Request::Read { log: log(1), from: 3, records_max, bytes_max: u32::MAX };
        let records =
            (3..=10).take(records_max as usize).map(|n: u8| (u64::from(n), vec![n].into())).collect();
        desk.expect(request, &Answer::Records { records, head: 10 })?;
    }
    desk.invalid(Request::Read { log: log(1), from: 3, records_max: 0, bytes_max: u32::MAX })
}

fn read_by_bytes(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    for offset in 1..=20 {
        desk.commit(vec![append(log(1), offset, &[1; 100])])?;
    }
    for bytes_max in [0, 1, 99, 100, 101, 550, 1_999, 2_000, u32::MAX] {
        let request = Request::Read { log: log(1), from: 1, records_max: 1_000, bytes_max };
        let Answer::Records { records, head: 20 } = desk.ask(request)? else {
            return Err("not the records of the log".to_owned());
        };
        // The record that reaches the bound and the one that passes it are both a lawful last one.
        let least = (bytes_max as usize).div_ceil(100).clamp(1, 20);
        let most = (bytes_max as usize / 100 + 1).clamp(1, 20);
        if !(least..=most).contains(&records.len()) {
            return Err(format!("{} records of 100 bytes for bytes_max {bytes_max}", records.len()));
        }
    }
    Ok(())
}

fn read_from(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    let epoch = 1_u64 << 40;
    desk.commit(vec![append(log(1), 3, b"a"), append(log(1), 4, b"b"), append(log(1), epoch + 1, b"c")])?;
    desk.commit(vec![append(log(1), epoch + 2, b"d")])?;
    let all: [(u64, Bytes); 4] =
        [(3, "a".into()), (4, "b".into()), (epoch + 1, "c".into()), (epoch + 2, "d".into())];
    for from in [0, 1, 3, 4, 5, 6, epoch, epoch + 1, epoch + 2, epoch + 3, u64::MAX] {
        let records = all.iter().filter(|(offset, _)| *offset >= from).cloned().collect();
        desk.expect(read(log(1), from), &Answer::Records { records, head: epoch + 2 })?;
    }
    Ok(())
}

/// Records 1 to `count`, each holding its offset as one byte.
fn fill(desk: &mut Desk<'_>, log: LogId, count: u8) -> Outcome {
    (1..=count).try_for_each(|n| desk.commit(vec![append(log, u64::from(n), &[n])]))
}
