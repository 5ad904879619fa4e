//! Checks of put-if-absent and compare-and-set.

use bitsim_engine::store::Table;

use super::desk::{Outcome, compare_and_set, delete, put, put_if_absent};
use super::{Check, Desks};

pub(super) const CHECKS: &[Check] = &[
    Check { name: "put-if-absent writes only where there is no row", run: if_absent },
    Check { name: "compare-and-set writes only over what is expected", run: over_expected },
    Check { name: "compare-and-set of absent writes only where there is no row", run: over_absent },
    Check { name: "compare-and-set deletes", run: deletes },
    Check { name: "an empty value is not an absent one", run: empty_is_present },
    Check { name: "of two shards that put if absent, one wins", run: one_wins },
];

fn if_absent(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    desk.commit(vec![put_if_absent(Table::Received, b"k", b"1")])?;
    desk.conflict(vec![put_if_absent(Table::Received, b"k", b"1")], 0)?;
    desk.conflict(vec![put_if_absent(Table::Received, b"k", b"2")], 0)?;
    desk.value(Table::Received, b"k", Some(b"1"))?;
    desk.commit(vec![delete(Table::Received, b"k")])?;
    desk.commit(vec![put_if_absent(Table::Received, b"k", b"2")])?;
    desk.value(Table::Received, b"k", Some(b"2"))
}

fn over_expected(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    desk.conflict(vec![compare_and_set(Table::Meta, b"k", Some(b"1"), Some(b"2"))], 0)?;
    desk.value(Table::Meta, b"k", None)?;
    desk.commit(vec![put(Table::Meta, b"k", b"1")])?;
    for other in [&b""[..], b"2", b"11", b"1\0"] {
        desk.conflict(vec![compare_and_set(Table::Meta, b"k", Some(other), Some(b"2"))], 0)?;
    }
    desk.value(Table::Meta, b"k", Some(b"1"))?;
    desk.commit(vec![compare_and_set(Table::Meta, b"k", Some(b"1"), Some(b"2"))])?;
    desk.value(Table::Meta, b"k", Some(b"2"))
}

fn over_absent(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    desk.commit(vec![compare_and_set(Table::Meta, b"k", None, Some(b"1"))])?;
    desk.conflict(vec![compare_and_set(Table::Meta, b"k", None, Some(b"2"))], 0)?;
    desk.value(Table::Meta, b"k", Some(b"1"))
}

fn deletes(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    desk.commit(vec![put(Table::Meta, b"k", b"1"), put(Table::Meta, b"k1", b"1")])?;
    desk.conflict(vec![compare_and_set(Table::Meta, b"k", Some(b"2"), None)], 0)?;
    desk.value(Table::Meta, b"k", Some(b"1"))?;
    desk.commit(vec![compare_and_set(Table::Meta, b"k", Some(b"1"), None)])?;
    desk.value(Table::Meta, b"k", None)?;
    desk.value(Table::Meta, b"k1", Some(b"1"))?;
    desk.commit(vec![compare_and_set(Table::Meta, b"k", None, None)])?;
    desk.value(Table::Meta, b"k", None)
}

fn empty_is_present(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    desk.conflict(vec![compare_and_set(Table::Meta, b"k", Some(b""), Some(b"1"))], 0)?;
    desk.commit(vec![put(Table::Meta, b"k", b"")])?;
    desk.conflict(vec![compare_and_set(Table::Meta, b"k", None, Some(b"1"))], 0)?;
    desk.conflict(vec![put_if_absent(Table::Meta, b"k", b"1")], 0)?;
    desk.commit(vec![compare_and_set(Table::Meta, b"k", Some(b""), Some(b"1"))])?;
    desk.value(Table::Meta, b"k", Some(b"1"))
}

fn one_wins(desks: &mut Desks<'_>) -> Outcome {
    use bitsim_engine::store::{Answer, Request};
    for n in 0..100_u8 {
        let key = [b'k', n];
        let first = desks.one.submit(Request::Commit(vec![put_if_absent(Table::Meta, &key, b"one")]));
        let second = desks.other.submit(Request::Commit(vec![put_if_absent(Table::Meta, &key, b"other")]));
        let winner: &[u8] = match (desks.one.answer(first)?, desks.other.answer(second)?) {
            (Answer::Committed, Answer::Conflict(0)) => b"one",
            (Answer::Conflict(0), Answer::Committed) => b"other",
            answers => return Err(format!("{answers:?}")),
        };
        desks.one.value(Table::Meta, &key, Some(winner))?;
    }
    Ok(())
}
