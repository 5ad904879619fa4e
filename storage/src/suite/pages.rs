//! Checks of scans.

use bitsim_engine::store::{Answer, Table};
use bytes::Bytes;

use super::desk::{Desk, Outcome, delete, put, scan};
use super::{Check, Desks};
use crate::contract::SCAN_BYTES_MAX;

pub(super) const CHECKS: &[Check] = &[
    Check { name: "a scan gives the rows below its prefix in key order", run: order_and_prefix },
    Check { name: "pages together give each row once", run: pages },
    Check { name: "a page begins after `after`, wherever that is", run: after },
    Check { name: "paging goes on though the row at the page's edge went away", run: edge_deleted },
    Check { name: "a page of large rows is cut, and says that more follow", run: large_rows },
    Check { name: "a scan asks for at least one row", run: no_rows_asked },
];

const KEYS: [&[u8]; 9] = [b"\0", b"a", b"a\0", b"a/b", b"a/b/c", b"a/c", b"b", b"\xFF", b"\xFF\xFF"];

fn order_and_prefix(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    desk.expect(scan(Table::Groups, b"", None, 10), &Answer::Rows { rows: vec![], more: false })?;
    fill(desk)?;
    let prefixes: [&[u8]; 8] = [b"", b"a", b"a/", b"a/b", b"b", b"\xFF", b"nothing", b"\xFF\xFF\xFF"];
    for prefix in prefixes {
        expect_page(desk, prefix, None, 100)?;
    }
    Ok(())
}

fn pages(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    fill(desk)?;
    for rows_max in 1..=10 {
        let mut seen: Vec<Bytes> = Vec::new();
        loop {
            let (rows, more) = page(desk, b"", seen.last().cloned().as_deref(), rows_max)?;
            if rows.len() > rows_max as usize || (more && rows.is_empty()) {
                return Err(format!("{} rows for rows_max {rows_max}, more: {more}", rows.len()));
            }
            seen.extend(rows.into_iter().map(|(key, _)| key));
            if !more {
                break;
            }
            if seen.len() > KEYS.len() {
                return Err(format!("rows come again: {seen:?}"));
            }
        }
        if !seen.iter().eq(KEYS.iter()) {
            return Err(format!("rows_max {rows_max}: {seen:?}"));
        }
    }
    Ok(())
}

fn after(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    fill(desk)?;
    let places: [&[u8]; 8] = [b"\0", b"A", b"a", b"a/", b"a/b", b"a/bb", b"b", b"\xFF\xFF\xFF"];
    let prefixes: [&[u8]; 3] = [b"", b"a/", b"a"];
    for place in places {
        prefixes.iter().try_for_each(|prefix| expect_page(desk, prefix, Some(place), 100))?;
    }
    Ok(())
}

fn edge_deleted(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    fill(desk)?;
    desk.commit(vec![delete(Table::Groups, b"a/b")])?;
    let (rows, _) = page(desk, b"", Some(b"a/b"), 1)?;
    match rows.first() {
        Some((key, _)) if key == "a/b/c" => Ok(()),
        other => Err(format!("{other:?} instead of a/b/c")),
    }
}

fn large_rows(desks: &mut Desks<'_>) -> Outcome {
    let desk = &mut desks.one;
    let value = vec![7; 1024 * 1024];
    for n in 0..12_u8 {
        desk.commit(vec![put(Table::Groups, &[n + 1], &value)])?;
    }
    let mut seen = 0;
    let mut last: Option<Bytes> = None;
    loop {
        let (rows, more) = page(desk, b"", last.as_deref(), 1_000)?;
        let bytes: usize = rows.iter().map(|(key, value)| key.len() + value.len()).sum();
        if rows.is_empty() || bytes > SCAN_BYTES_MAX + value.len() || rows.iter().any(|(_, v)| *v != value) {
            return Err(format!("a page of {} rows with {bytes} bytes", rows.len()));
        }
        seen += rows.len();
        last = rows.last().map(|(key, _)| key.clone());
        // A store that gives rows again must not keep the suite busy for ever.
        if !more || seen > 12 {
            break;
        }
    }
    if seen == 12 { Ok(()) } else { Err(format!("{seen} of 12 rows")) }
}

fn no_rows_asked(desks: &mut Desks<'_>) -> Outcome {
    desks.one.invalid(scan(Table::Groups, b"", None, 0))
}

fn fill(desk: &mut Desk<'_>) -> Outcome {
    desk.commit(KEYS.iter().rev().map(|key| put(Table::Groups, key, key)).collect())
}

/// Compares one page, that is large enough for all rows, with what is in [`KEYS`].
fn expect_page(desk: &mut Desk<'_>, prefix: &[u8], after: Option<&[u8]>, rows_max: u32) -> Outcome {
    let is_in = |key: &&&[u8]| key.starts_with(prefix) && after.is_none_or(|after| **key > after);
    let wanted: Vec<&[u8]> = KEYS.iter().filter(is_in).copied().collect();
    let (rows, more) = page(desk, prefix, after, rows_max)?;
    if more
        || !rows.iter().map(|(key, _)| key).eq(wanted.iter())
        || rows.iter().any(|(key, value)| key != value)
    {
        return Err(format!("prefix {prefix:?} after {after:?}: {rows:?}, more: {more}"));
    }
    Ok(())
}

type Rows = Vec<(Bytes, Bytes)>;

fn page(desk: &mut Desk<'_>, prefix: &[u8], after: Option<&[u8]>, rows_max: u32) -> Outcome<(Rows, bool)> {
    match desk.ask(scan(Table::Groups, prefix, after, rows_max))? {
        Answer::Rows { rows, more } => Ok((rows, more)),
        other => Err(format!("{other:?}")),
    }
}
