//! Checks of batches: all or nothing, which refusal is named, order within.

use bitsim_engine::store::{Request, Table, Write};

use super::desk::{
    Outcome, append, compare_and_set, delete, delete_prefix, log, put, put_if_absent, put_until,
};
use super::{Check, Desks};

pub(super) const CHECKS: &[Check] = &[
    Check { name: "an empty batch is committed", run: empty },
    Check { name: "a batch writes to logs and tables at once", run: all },
    Check {
        name: "a batch with a failed condition writes nothing, before or behind it",
        run: nothing_on_conflict,
    },
    Check { name: "an invalid batch writes nothing", run: nothing_on_invalid },
    Check { name: "the first failed condition is named", run: first_condition },
    Check { name: "an invalid batch is invalid whatever its conditions say", run: invalid_first },
    Check { name: "conditions see the state before the batch", run: conditions_before },
    Check { name: "writes of a batch take effect in their order", run: in_order },
    Check { name: "a large batch is one batch", run: large },
];

fn empty(desks: &mut Desks<'_>) -> Outcome {
    desks.one.commit(vec![])
}

fn all(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    desk.commit(vec![
        append(log(1), 1, b"a"),
        append(log(2), 1, b"b"),
        put_if_absent(Table::Received, b"id", b""),
        put(Table::Cursors, b"c", b"1"),
    ])?;
    desk.records(log(1), &[(1, b"a")], 1)?;
    desk.records(log(2), &[(1, b"b")], 1)?;
    desk.value(Table::Received, b"id", Some(b""))?;
    desk.value(Table::Cursors, b"c", Some(b"1"))
}

fn nothing_on_conflict(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    desk.commit(vec![put(Table::Meta, b"taken", b"1"), append(log(1), 1, b"a"), append(log(2), 1, b"a")])?;
    let at = desk.wall_ms + 5;
    let batch = |condition: Write| {
        vec![
            append(log(1), 2, b"b"),
            append(log(3), 1, b"b"),
            put_until(Table::Meta, b"new", b"1", Some(at)),
            delete(Table::Meta, b"taken"),
            condition,
            Write::Trim { log: log(1), to: 2 },
            Write::Drop { log: log(2) },
            put(Table::Meta, b"later", b"1"),
            delete_prefix(Table::Meta, b"t"),
        ]
    };
    desk.conflict(batch(put_if_absent(Table::Meta, b"taken", b"2")), 4)?;
    desk.conflict(batch(compare_and_set(Table::Meta, b"taken", Some(b"2"), None)), 4)?;
    desk.records(log(1), &[(1, b"a")], 1)?;
    desk.head(log(1), 1, 0)?;
    desk.records(log(2), &[(1, b"a")], 1)?;
    desk.head(log(3), 0, 0)?;
    desk.value(Table::Meta, b"taken", Some(b"1"))?;
    desk.value(Table::Meta, b"new", None)?;
    desk.value(Table::Meta, b"later", None)
}

fn nothing_on_invalid(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    desk.commit(vec![append(log(1), 1, b"a")])?;
    desk.invalid(Request::Commit(vec![
        append(log(2), 1, b"b"),
        put(Table::Meta, b"k", b"1"),
        append(log(1), 1, b"again"),
        put(Table::Meta, b"l", b"1"),
    ]))?;
    desk.head(log(2), 0, 0)?;
    desk.value(Table::Meta, b"k", None)?;
    desk.value(Table::Meta, b"l", None)?;
    desk.records(log(1), &[(1, b"a")], 1)
}

fn first_condition(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    desk.commit(vec![put(Table::Meta, b"k", b"1")])?;
    desk.conflict(
        vec![
            put_if_absent(Table::Meta, b"free", b"1"),
            put(Table::Meta, b"plain", b"1"),
            compare_and_set(Table::Meta, b"k", Some(b"2"), Some(b"3")),
            put_if_absent(Table::Meta, b"k", b"1"),
        ],
        2,
    )?;
    desk.value(Table::Meta, b"free", None)
}

fn invalid_first(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    desk.commit(vec![put(Table::Meta, b"k", b"1"), append(log(1), 1, b"a")])?;
    let failing = put_if_absent(Table::Meta, b"k", b"2");
    desk.invalid(Request::Commit(vec![failing.clone(), append(log(1), 1, b"b")]))?;
    desk.invalid(Request::Commit(vec![failing, put(Table::Meta, b"", b"b")]))
}

fn conditions_before(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    desk.commit(vec![put(Table::Meta, b"k", b"1")])?;
    desk.commit(vec![
        put(Table::Meta, b"k", b"2"),
        compare_and_set(Table::Meta, b"k", Some(b"1"), Some(b"3")),
    ])?;
    desk.value(Table::Meta, b"k", Some(b"3"))?;
    desk.conflict(vec![delete(Table::Meta, b"k"), put_if_absent(Table::Meta, b"k", b"4")], 1)?;
    desk.commit(vec![put(Table::Meta, b"new", b"1"), put_if_absent(Table::Meta, b"new", b"2")])?;
    desk.value(Table::Meta, b"new", Some(b"2"))
}

fn in_order(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    desk.commit(vec![put(Table::Topics, b"k", b"1"), delete(Table::Topics, b"k")])?;
    desk.value(Table::Topics, b"k", None)?;
    desk.commit(vec![
        put(Table::Topics, b"p1", b"old"),
        delete_prefix(Table::Topics, b"p"),
        put(Table::Topics, b"p2", b"new"),
    ])?;
    desk.value(Table::Topics, b"p1", None)?;
    desk.value(Table::Topics, b"p2", Some(b"new"))?;
    desk.commit(vec![
        append(log(1), 1, b"a"),
        append(log(1), 2, b"b"),
        Write::Trim { log: log(1), to: 2 },
        append(log(1), 3, b"c"),
    ])?;
    desk.records(log(1), &[(2, b"b"), (3, b"c")], 3)?;
    desk.commit(vec![append(log(1), 4, b"d"), Write::Drop { log: log(1) }])?;
    desk.head(log(1), 0, 0)
}

fn large(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    let rows = |from: u32| (from..from + 10_000).map(|n| put(Table::Cursors, &n.to_be_bytes(), b"1"));
    desk.commit(rows(0).collect())?;
    desk.value(Table::Cursors, &9_999_u32.to_be_bytes(), Some(b"1"))?;
    let refused = rows(20_000).chain([put_if_absent(Table::Cursors, &0_u32.to_be_bytes(), b"")]).collect();
    desk.conflict(refused, 10_000)?;
    desk.value(Table::Cursors, &20_000_u32.to_be_bytes(), None)?;
    desk.value(Table::Cursors, &29_999_u32.to_be_bytes(), None)
}
