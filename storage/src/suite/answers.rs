//! Checks of what is said about answers, order and visibility.

use bitsim_engine::store::{Answer, Request, Table};

use super::desk::{Outcome, append, get, log, put, read};
use super::{Check, Desks};

pub(super) const CHECKS: &[Check] = &[
    Check { name: "it says in one line what it is", run: describes_itself },
    Check { name: "requests of two shards under equal tokens are answered apart", run: shards_are_apart },
    Check { name: "a shard's requests take effect in the order submitted", run: pipelined_in_order },
    Check { name: "pipelined appends rise", run: pipelined_appends },
    Check { name: "a refused commit does not disturb those behind it", run: refused_in_between },
    Check { name: "what was answered is seen by other shards", run: seen_by_others },
    Check { name: "flush returns, and what was committed is there", run: flush },
    Check { name: "bytes rise with what is stored", run: bytes_rise },
];

fn describes_itself(desks: &mut Desks<'_>) -> Outcome {
    let line = desks.one.store().describe();
    if line.is_empty() || line.contains('\n') { Err(format!("describe: {line:?}")) } else { Ok(()) }
}

fn shards_are_apart(desks: &mut Desks<'_>) -> Outcome {
    let first = desks.one.submit(Request::Commit(vec![put(Table::Meta, b"one", b"1")]));
    let second = desks.other.submit(get(Table::Meta, b"absent"));
    let third = desks.one.submit(get(Table::Meta, b"one"));
    if first != second {
        return Err("the check itself is wrong: tokens differ".to_owned());
    }
    let answers = [desks.one.answer(third)?, desks.other.answer(second)?, desks.one.answer(first)?];
    let wanted = [Answer::Value(Some("1".into())), Answer::Value(None), Answer::Committed];
    if answers == wanted { Ok(()) } else { Err(format!("{answers:?}")) }
}

fn pipelined_in_order(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    let mut tokens = Vec::new();
    for round in 0..200_u32 {
        let value = round.to_be_bytes();
        tokens.push((desk.submit(get(Table::Sessions, b"key")), round.checked_sub(1)));
        desk.submit(Request::Commit(vec![put(Table::Sessions, b"key", &value)]));
        tokens.push((desk.submit(get(Table::Sessions, b"key")), Some(round)));
    }
    for (token, wanted) in tokens {
        let wanted = Answer::Value(wanted.map(|round| round.to_be_bytes().to_vec().into()));
        let answer = desk.answer(token)?;
        if answer != wanted {
            return Err(format!("{token:?}: {answer:?} instead of {wanted:?}"));
        }
    }
    drain(desks)
}

fn drain(desks: &mut Desks<'_>) -> Outcome {
    // The commits between the reads: every third token is a read, a commit, a read.
    for token in (0..200).map(|round| bitsim_engine::store::StoreToken(round * 3 + 2)) {
        let answer = desks.one.answer(token)?;
        if answer != Answer::Committed {
            return Err(format!("{token:?}: {answer:?}"));
        }
    }
    Ok(())
}

fn pipelined_appends(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    let tokens: Vec<_> =
        (1..=500).map(|offset| desk.submit(Request::Commit(vec![append(log(1), offset, b"x")]))).collect();
    for token in tokens {
        if desk.answer(token)? != Answer::Committed {
            return Err(format!("{token:?} was refused"));
        }
    }
    desk.head(log(1), 500, 0)
}

fn refused_in_between(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    let good = desk.submit(Request::Commit(vec![append(log(1), 1, b"a")]));
    let bad = desk.submit(Request::Commit(vec![append(log(1), 1, b"b"), put(Table::Meta, b"k", b"v")]));
    let next = desk.submit(Request::Commit(vec![append(log(1), 2, b"c")]));
    let answers = [desk.answer(good)?, desk.answer(next)?];
    if answers != [Answer::Committed, Answer::Committed] || desk.answer(bad)? == Answer::Committed {
        return Err(format!("{answers:?}"));
    }
    desk.records(log(1), &[(1, b"a"), (2, b"c")], 2)?;
    desk.value(Table::Meta, b"k", None)
}

fn seen_by_others(desks: &mut Desks<'_>) -> Outcome {
    desks.one.commit(vec![append(log(1), 1, b"a"), put(Table::Meta, b"k", b"v")])?;
    desks.other.records(log(1), &[(1, b"a")], 1)?;
    desks.other.value(Table::Meta, b"k", Some(b"v"))?;
    desks.other.commit(vec![append(log(1), 2, b"b")])?;
    desks.one.head(log(1), 2, 0)
}

fn flush(desks: &mut Desks<'_>) -> Outcome {
    desks.one.store().flush();
    let commit = desks.one.submit(Request::Commit(vec![append(log(1), 1, b"a")]));
    desks.one.store().flush();
    let answer = desks.one.answer(commit)?;
    if answer != Answer::Committed {
        return Err(format!("{answer:?}"));
    }
    desks.one.expect(read(log(1), 1), &Answer::Records { records: vec![(1, "a".into())], head: 1 })
}

fn bytes_rise(desks: &mut Desks<'_>) -> Outcome {
    let before = desks.one.store().bytes();
    desks
        .one
        .commit(vec![append(log(1), 1, &[7; 100_000]), put(Table::Retained, b"\0\x01t", &[7; 100_000])])?;
    let added = desks.one.store().bytes().saturating_sub(before);
    if added < 200_000 { Err(format!("200,000 bytes stored, {added} counted")) } else { Ok(()) }
}
