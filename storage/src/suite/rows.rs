//! Checks of rows: put, get, delete, expiry, bounds.

use bitsim_engine::store::{Request, Table};

use super::desk::{
    Outcome, compare_and_set, delete, delete_prefix, get, put, put_if_absent, put_until, scan,
};
use super::{Check, Desks};
use crate::contract::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

pub(super) const CHECKS: &[Check] = &[
    Check { name: "a row reads as last put", run: put_and_get },
    Check { name: "delete removes one row and never minds that there is none", run: delete_one },
    Check { name: "delete by prefix removes exactly the rows below it", run: delete_below },
    Check { name: "tables are apart", run: tables_are_apart },
    Check { name: "a row is absent from its expiry on, to every request", run: expiry },
    Check { name: "a put also replaces the expiry", run: expiry_replaced },
    Check { name: "many rows expire at once", run: many_expire },
    Check { name: "keys and values are bounded", run: bounds },
];

fn put_and_get(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    let all: Vec<u8> = (0..=255).collect();
    desk.value(Table::Sessions, b"k", None)?;
    desk.commit(vec![put(Table::Sessions, b"k", b"1")])?;
    desk.value(Table::Sessions, b"k", Some(b"1"))?;
    desk.commit(vec![put(Table::Sessions, b"k", b"")])?;
    desk.value(Table::Sessions, b"k", Some(b""))?;
    desk.commit(vec![put(Table::Sessions, &all, &all)])?;
    desk.value(Table::Sessions, &all, Some(&all))?;
    desk.value(Table::Sessions, b"k\0", None)?;
    desk.commit(vec![put(Table::Sessions, b"k", b"a"), put(Table::Sessions, b"k", b"b")])?;
    desk.value(Table::Sessions, b"k", Some(b"b"))
}

fn delete_one(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    desk.commit(vec![delete(Table::Cursors, b"k")])?;
    desk.commit(vec![put(Table::Cursors, b"k", b"1"), put(Table::Cursors, b"k1", b"2")])?;
    desk.commit(vec![delete(Table::Cursors, b"k")])?;
    desk.value(Table::Cursors, b"k", None)?;
    desk.value(Table::Cursors, b"k1", Some(b"2"))
}

fn delete_below(desks: &mut Desks<'_>) -> Outcome {
    let below: [&[u8]; 4] = [b"a\xFF", b"a\xFF\0", b"a\xFF\xFF", b"a\xFFzz"];
    let beside: [&[u8]; 5] = [b"a", b"a\xFE\xFF", b"b", b"\xFF", b"\xFF\xFF\xFF"];
    let desk = &mut desks.one;
    desk.commit(below.iter().chain(&beside).map(|key| put(Table::Retained, key, key)).collect())?;
    desk.commit(below.iter().map(|key| put(Table::Topics, key, key)).collect())?;
    desk.commit(vec![delete_prefix(Table::Retained, b"a\xFF")])?;
    below.iter().try_for_each(|key| desk.value(Table::Retained, key, None))?;
    beside.iter().try_for_each(|key| desk.value(Table::Retained, key, Some(key)))?;
    below.iter().try_for_each(|key| desk.value(Table::Topics, key, Some(key)))?;
    desk.commit(vec![delete_prefix(Table::Retained, b"\xFF"), delete_prefix(Table::Retained, b"none")])?;
    desk.value(Table::Retained, b"\xFF\xFF\xFF", None)?;
    desk.value(Table::Retained, b"b", Some(b"b"))
}

fn tables_are_apart(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    for table in Table::ALL {
        desk.value(table, b"k", None)?;
        desk.commit(vec![put(table, b"k", &[table as u8])])?;
    }
    Table::ALL.into_iter().try_for_each(|table| desk.value(table, b"k", Some(&[table as u8])))
}

fn expiry(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    let at = desk.wall_ms + 1_000;
    desk.commit(vec![put_until(Table::Retained, b"k", b"v", Some(at)), put(Table::Retained, b"l", b"w")])?;
    desk.wall_ms = at - 1;
    desk.value(Table::Retained, b"k", Some(b"v"))?;
    desk.conflict(vec![put_if_absent(Table::Retained, b"k", b"n")], 0)?;
    desk.wall_ms = at;
    desk.value(Table::Retained, b"k", None)?;
    desk.expect(
        scan(Table::Retained, b"", None, 10),
        &bitsim_engine::store::Answer::Rows { rows: vec![("l".into(), "w".into())], more: false },
    )?;
    desk.conflict(vec![compare_and_set(Table::Retained, b"k", Some(b"v"), Some(b"n"))], 0)?;
    desk.commit(vec![put_if_absent(Table::Retained, b"k", b"n")])?;
    desk.wall_ms += 1_000_000_000;
    desk.value(Table::Retained, b"k", Some(b"n"))
}

fn expiry_replaced(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    let at = desk.wall_ms + 10;
    let keys: [&[u8]; 4] = [b"none", b"later", b"set", b"gone"];
    desk.commit(keys.iter().map(|key| put_until(Table::Meta, key, b"v", Some(at))).collect())?;
    desk.commit(vec![
        put(Table::Meta, b"none", b"v"),
        put_until(Table::Meta, b"later", b"v", Some(at + 10)),
        compare_and_set(Table::Meta, b"set", Some(b"v"), Some(b"w")),
    ])?;
    desk.commit(vec![delete(Table::Meta, b"gone"), put(Table::Meta, b"gone", b"back")])?;
    desk.wall_ms = at + 9;
    desk.commit(vec![])?;
    desk.value(Table::Meta, b"none", Some(b"v"))?;
    desk.value(Table::Meta, b"later", Some(b"v"))?;
    desk.value(Table::Meta, b"set", Some(b"w"))?;
    desk.value(Table::Meta, b"gone", Some(b"back"))?;
    desk.wall_ms = at + 10;
    desk.value(Table::Meta, b"none", Some(b"v"))?;
    desk.value(Table::Meta, b"later", None)
}

fn many_expire(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    let at = desk.wall_ms + 10;
    for n in 0..1_000_u16 {
        desk.commit(vec![put_until(Table::Sessions, &n.to_be_bytes(), b"v", Some(at))])?;
    }
    desk.commit(vec![put(Table::Sessions, b"\xFF\xFF\xFF", b"stays")])?;
    desk.wall_ms = at;
    for n in [0_u16, 1, 500, 999] {
        desk.value(Table::Sessions, &n.to_be_bytes(), None)?;
    }
    let rows = vec![(bytes::Bytes::from_static(b"\xFF\xFF\xFF"), "stays".into())];
    let wanted = bitsim_engine::store::Answer::Rows { rows, more: false };
    desk.expect(scan(Table::Sessions, b"", None, 10), &wanted)
}

fn bounds(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    let (key, value) = (vec![b'k'; KEY_BYTES_MAX], vec![b'v'; VALUE_BYTES_MAX]);
    let (key_over, value_over) = (vec![b'k'; KEY_BYTES_MAX + 1], vec![b'v'; VALUE_BYTES_MAX + 1]);
    desk.commit(vec![put(Table::Topics, &key, &value)])?;
    desk.value(Table::Topics, &key, Some(&value))?;
    let table = Table::Topics;
    for write in [
        put(table, &key_over, b"v"),
        put(table, b"k", &value_over),
        put(table, b"", b"v"),
        put_if_absent(table, &key_over, b"v"),
        put_if_absent(table, b"k", &value_over),
        put_if_absent(table, b"", b"v"),
        compare_and_set(table, &key_over, None, Some(b"v")),
        compare_and_set(table, b"k", None, Some(&value_over)),
        compare_and_set(table, b"", None, Some(b"v")),
        delete(table, &key_over),
        delete(table, b""),
        delete_prefix(table, b""),
        delete_prefix(table, &key_over),
    ] {
        desk.invalid(Request::Commit(vec![put(Table::Meta, b"beside", b"v"), write]))?;
    }
    desk.value(Table::Meta, b"beside", None)?;
    desk.value(table, b"k", None)?;
    desk.invalid(get(table, b""))?;
    desk.invalid(get(table, &key_over))
}
