//! The trie of the filters with wildcards: one node per distinct prefix of levels.
//!
//! Nodes lie in a slab; the literal children of all nodes are in one hash index keyed by (parent, level), `+` children are
//! links. A filter that ends in `#` is noted at the node before, so that `a/#` also matches `a` without a node of its own.
//!
//! Invariants: every node but the root carries a filter or a child, so removal of all filters frees all nodes. The
//! path to a node is unique, so a walk visits each node at most once; it keeps at most one pending node per level of the topic.
#![expect(
    clippy::indexing_slicing,
    reason = "nodes are named by numbers from the slab's own links and index"
)]

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use super::{Indexed, NIL, Seeds, hash};

#[derive(Debug)]
pub(super) struct Trie {
    seeds: Seeds,
    nodes: Vec<Node>,
    free: u32,
    /// Literal children of all nodes; `Indexed::filter` holds the node's number.
    children: HashTable<Indexed>,
    filters: usize,
    /// Heap bytes of the levels that are too long to lie in their node.
    level_bytes: usize,
}

#[derive(Debug)]
struct Node {
    level: Level,
    /// The parent; the next free node if this one is free.
    parent: u32,
    /// The child for `+`.
    plus: u32,
    /// The filter that ends here.
    filter: u32,
    /// The filter that goes on with `#` here.
    multi: u32,
    /// Number of children, `+` included.
    children: u32,
}

/// The text of a level: inline up to 14 bytes.
#[derive(Debug)]
enum Level {
    Short { len: u8, bytes: [u8; SHORT_MAX] },
    // Two pointers away, which keeps the short case small.
    Long(Box<Box<[u8]>>),
}

const SHORT_MAX: usize = 14;
const ROOT: u32 = 0;
/// Pending nodes that need no allocation: a topic needs more only if it has more levels and at each both a literal
/// and a `+` child.
const PENDING_INLINE: usize = 16;

const _: () = assert!(size_of::<Node>() == 40);

impl Trie {
    pub(super) fn new(seeds: Seeds) -> Self {
        let root = Node::new(Level::new(b""), NIL);
        Trie { seeds, nodes: vec![root], free: NIL, children: HashTable::new(), filters: 0, level_bytes: 0 }
    }

    /// Adds a filter that is not in the trie.
    pub(super) fn insert(&mut self, filter: &str, number: u32) {
        let mut node = ROOT;
        let mut levels = filter.as_bytes();
        self.filters += 1;
        loop {
            let (level, rest) = split_level(levels);
            if level == b"#" {
                self.nodes[node as usize].multi = number;
                return;
            }
            node = self.child_or_new(node, level);
            let Some(rest) = rest else { break };
            levels = rest;
        }
        self.nodes[node as usize].filter = number;
    }

    /// Removes a filter that is in the trie, and the nodes that only it needed.
    pub(super) fn remove(&mut self, filter: &str) {
        let mut node = ROOT;
        let mut levels = filter.as_bytes();
        self.filters -= 1;
        loop {
            let (level, rest) = split_level(levels);
            if level == b"#" {
                self.nodes[node as usize].multi = NIL;
                break;
            }
            node = self.child(node, level).expect("the filter is in the trie");
            let Some(rest) = rest else {
                self.nodes[node as usize].filter = NIL;
                break;
            };
            levels = rest;
        }
        self.prune(node);
    }

    /// Calls `f` with the number of every filter that matches.
    pub(super) fn for_each_match(&self, topic: &str, f: &mut impl FnMut(u32)) {
        let root = &self.nodes[ROOT as usize];
        let topic = topic.as_bytes();
        let mut pending = Pending::new();
        let mut next = Some((ROOT, Some(topic)));
        // A wildcard at the first level matches no topic that begins with `$` [MQTT-4.7.2-1].
        if topic.first() == Some(&b'$') {
            let (level, rest) = split_level(topic);
            next = self.literal_child(ROOT, level).map(|child| (child, rest));
        } else if root.multi != NIL && root.children == 0 {
            return f(root.multi);
        }
        while let Some((number, levels)) = next {
            let node = &self.nodes[number as usize];
            if node.multi != NIL {
                f(node.multi);
            }
            next = None;
            if let Some(levels) = levels {
                if node.children > 0 {
                    let (level, rest) = split_level(levels);
                    if node.plus != NIL {
                        next = Some((node.plus, rest));
                    }
                    if node.children > u32::from(node.plus != NIL)
                        && let Some(child) = self.literal_child(number, level)
                    {
                        let literal = Some((child, rest));
                        if let Some(plus) = std::mem::replace(&mut next, literal) {
                            pending.push(plus);
                        }
                    }
                }
            } else if node.filter != NIL {
                f(node.filter);
            }
            next = next.or_else(|| pending.pop());
        }
    }

    pub(super) fn filters(&self) -> usize {
        self.filters
    }

    /// Heap bytes.
    pub(super) fn bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>() + self.children.allocation_size() + self.level_bytes
    }

    fn child(&self, node: u32, level: &[u8]) -> Option<u32> {
        if level == b"+" {
            let plus = self.nodes[node as usize].plus;
            return (plus != NIL).then_some(plus);
        }
        self.literal_child(node, level)
    }

    fn literal_child(&self, parent: u32, level: &[u8]) -> Option<u32> {
        let hash = self.seeds.join(parent, self.seeds.hash(level));
        let found = self.children.find(hash::spread(hash), |entry| {
            let node = &self.nodes[entry.filter as usize];
            entry.hash == hash && node.parent == parent && node.level.as_bytes() == level
        })?;
        Some(found.filter)
    }

    fn child_or_new(&mut self, parent: u32, level: &[u8]) -> u32 {
        if let Some(child) = self.child(parent, level) {
            return child;
        }
        let child = self.allocate(Node::new(Level::new(level), parent));
        self.nodes[parent as usize].children += 1;
        if level == b"+" {
            self.nodes[parent as usize].plus = child;
        } else {
            let hash = self.seeds.join(parent, self.seeds.hash(level));
            let entry = Indexed { hash, filter: child };
            self.children.insert_unique(hash::spread(hash), entry, |entry| hash::spread(entry.hash));
        }
        child
    }

    /// Frees `node` and its ancestors as far as they carry nothing.
    fn prune(&mut self, mut number: u32) {
        while number != ROOT {
            let node = &self.nodes[number as usize];
            if node.children > 0 || node.filter != NIL || node.multi != NIL {
                return;
            }
            let parent = node.parent;
            if self.nodes[parent as usize].plus == number {
                self.nodes[parent as usize].plus = NIL;
            } else {
                self.unindex(number);
            }
            self.nodes[parent as usize].children -= 1;
            self.release(number);
            number = parent;
        }
    }

    fn unindex(&mut self, number: u32) {
        let node = &self.nodes[number as usize];
        let hash = self.seeds.join(node.parent, self.seeds.hash(node.level.as_bytes()));
        let slot = self.children.entry(
            hash::spread(hash),
            |entry| entry.filter == number,
            |entry| hash::spread(entry.hash),
        );
        let Slot::Occupied(slot) = slot else { unreachable!("every literal child is in the index") };
        slot.remove();
    }

    fn allocate(&mut self, node: Node) -> u32 {
        self.level_bytes += node.level.heap_bytes();
        if self.free == NIL {
            let number = u32::try_from(self.nodes.len()).ok().filter(|&number| number != NIL);
            self.nodes.push(node);
            return number.expect("fewer than 2^32 nodes");
        }
        let number = self.free;
        let vacant = std::mem::replace(&mut self.nodes[number as usize], node);
        self.free = vacant.parent;
        number
    }

    fn release(&mut self, number: u32) {
        let vacant = Node::new(Level::new(b""), self.free);
        let node = std::mem::replace(&mut self.nodes[number as usize], vacant);
        self.level_bytes -= node.level.heap_bytes();
        self.free = number;
    }
}

impl Node {
    fn new(level: Level, parent: u32) -> Self {
        Node { level, parent, plus: NIL, filter: NIL, multi: NIL, children: 0 }
    }
}

impl Level {
    fn new(level: &[u8]) -> Self {
        let mut bytes = [0; SHORT_MAX];
        match (bytes.get_mut(..level.len()), u8::try_from(level.len())) {
            (Some(start), Ok(len)) => {
                start.copy_from_slice(level);
                Level::Short { len, bytes }
            }
            _ => Level::Long(Box::new(level.into())),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Level::Short { len, bytes } => &bytes[..usize::from(*len)],
            Level::Long(bytes) => bytes,
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Level::Short { .. } => 0,
            Level::Long(bytes) => size_of::<Box<[u8]>>() + bytes.len(),
        }
    }
}

/// A node still to visit, with the levels that lie below it; `None` after the last one.
type Visit<'a> = (u32, Option<&'a [u8]>);

/// A small stack of visits.
struct Pending<'a> {
    inline: [Visit<'a>; PENDING_INLINE],
    len: usize,
    spilled: Vec<Visit<'a>>,
}

impl<'a> Pending<'a> {
    fn new() -> Self {
        Pending { inline: [(NIL, None); PENDING_INLINE], len: 0, spilled: Vec::new() }
    }

    fn push(&mut self, visit: Visit<'a>) {
        if let Some(place) = self.inline.get_mut(self.len) {
            *place = visit;
            self.len += 1;
        } else {
            self.spilled.push(visit);
        }
    }

    fn pop(&mut self) -> Option<Visit<'a>> {
        if let Some(visit) = self.spilled.pop() {
            return Some(visit);
        }
        self.len = self.len.checked_sub(1)?;
        Some(self.inline[self.len])
    }
}

/// The first level and what follows its separator, if there is one.
fn split_level(levels: &[u8]) -> (&[u8], Option<&[u8]>) {
    match levels.iter().position(|&byte| byte == b'/') {
        Some(at) => (&levels[..at], Some(&levels[at + 1..])),
        None => (levels, None),
    }
}
