//! Who may read, write and subscribe to which topics.
//!
//! `AccessRules` is built once (by the server, from the ACL file and the settings), never changed, and shared by
//! all shards through an `Arc`; a reload builds a new one. Nothing here reads a file, and nothing allocates after
//! the build: a check walks the rules that apply to a client and compares level by level.
//!
//! Rules: what no allow rule covers is refused; a deny rule wins over every allow rule. A SUBSCRIBE is granted
//! when one allow rule covers *every* topic its filter can match, and refused when one deny rule does; what lies
//! between is decided per message, by `Action::Read`, at delivery. Wildcards in the first level of a rule do not
//! reach topics that begin with `$`, as in MQTT itself [MQTT-4.7.2-1].
//!
//! A caller hands over the filter of a shared subscription without `$share/<group>/`, and a validated topic name
//! or filter: this module does not judge their syntax.

use core::fmt;
use std::sync::Arc;

use hashbrown::HashMap;

/// Most rules one set may hold: each check is linear in the rules of one client.
pub const RULES_MAX: usize = 100_000;

/// Longest filter of a rule, in bytes: the longest UTF-8 string MQTT can carry.
pub const RULE_FILTER_BYTES_MAX: usize = 65_535;

/// What a client asks to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Receive one message of this topic. Asked at delivery.
    Read,
    /// Publish to this topic, or name it in a will.
    Write,
    /// Hold a subscription with this filter.
    Subscribe,
}

/// A set of rights, as a rule grants or denies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights(u8);

impl Rights {
    /// Receive messages, and subscribe.
    pub const READ: Self = Self(0b101);
    /// Publish.
    pub const WRITE: Self = Self(0b010);
    /// Subscribe only: what is then delivered is decided by the rules for reading.
    pub const SUBSCRIBE: Self = Self(0b100);
    /// Everything.
    pub const ALL: Self = Self(0b111);

    fn contains(self, action: Action) -> bool {
        let bit = match action {
            Action::Read => 0b001,
            Action::Write => 0b010,
            Action::Subscribe => 0b100,
        };
        self.0 & bit != 0
    }
}

/// Whether a rule grants or refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The rule grants its rights.
    Allow,
    /// The rule refuses its rights, whatever else is granted.
    Deny,
}

/// Whom a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// Every client.
    Everyone,
    /// Clients that logged in without a user name.
    Anonymous,
    /// Clients that logged in under this name.
    User(&'a str),
}

/// The client that asks, as it logged in.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The account, `None` for an anonymous client. Never a name that was claimed but not verified.
    pub username: Option<&'a str>,
    /// The client identifier, the assigned one if the client sent none.
    pub client_id: &'a str,
}

/// Why a rule was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// The filter has no byte.
    EmptyFilter,
    /// The filter is longer than `RULE_FILTER_BYTES_MAX`.
    FilterTooLong,
    /// The filter holds a NUL character [MQTT-1.5.4-2].
    NulInFilter,
    /// `#` is not the whole last level, or `+` not a whole level.
    MisplacedWildcard,
    /// `%` is followed by something other than `u`, `c` or `%`.
    UnknownPlaceholder,
    /// The rule is about a user without a name.
    EmptyUser,
    /// There are `RULES_MAX` rules already.
    TooManyRules,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyFilter => "the topic filter is empty",
            Self::FilterTooLong => "the topic filter is longer than 65535 bytes",
            Self::NulInFilter => "the topic filter contains a NUL character",
            Self::MisplacedWildcard => "`+` must be a whole level and `#` the whole last level",
            Self::UnknownPlaceholder => "after `%` only `u` (user name), `c` (client id) or `%` may follow",
            Self::EmptyUser => "the user name is empty",
            Self::TooManyRules => "there are more than 100000 rules",
        })
    }
}

impl core::error::Error for RuleError {}

/// An immutable set of rules.
#[derive(Debug, Default)]
pub struct AccessRules {
    open: bool,
    everyone: RuleList,
    anonymous: RuleList,
    users: HashMap<Box<str>, RuleList>,
}

impl AccessRules {
    /// The set that allows everything: for a broker that was given no ACL.
    #[must_use]
    pub fn open() -> Arc<Self> {
        Arc::new(Self { open: true, ..Self::default() })
    }

    /// Starts an empty set, which refuses everything until rules allow something.
    #[must_use]
    pub fn builder() -> AccessRulesBuilder {
        AccessRulesBuilder { rules: Self::default(), count: 0 }
    }

    /// Whether every check would be granted, so that a hot path may leave them out.
    #[must_use]
    pub fn allows_everything(&self) -> bool {
        self.open
    }

    /// Decides one request. `topic_or_filter` is a topic name for `Read` and `Write`, a filter for `Subscribe`.
    #[must_use]
    pub fn may(&self, who: &Identity<'_>, action: Action, topic_or_filter: &str) -> bool {
        if self.open {
            return true;
        }
        let lists = [Some(&self.everyone), self.personal(who)];
        let applies = |rule: &&Rule| {
            rule.rights.contains(action) && rule.pattern.covers(who, rule.effect, topic_or_filter)
        };
        let denied = lists.into_iter().flatten().any(|list| list.denies.iter().any(|rule| applies(&rule)));
        !denied && lists.into_iter().flatten().any(|list| list.allows.iter().any(|rule| applies(&rule)))
    }

    fn personal(&self, who: &Identity<'_>) -> Option<&RuleList> {
        match who.username {
            Some(name) => self.users.get(name),
            None => Some(&self.anonymous),
        }
    }
}

/// Collects rules; `build` freezes them.
#[derive(Debug)]
pub struct AccessRulesBuilder {
    rules: AccessRules,
    count: usize,
}

impl AccessRulesBuilder {
    /// Adds one rule. In `filter`, `%u` stands for the user name, `%c` for the client id, `%%` for `%`.
    ///
    /// # Errors
    /// Says what is wrong with the rule; the set is unchanged then.
    pub fn add(
        &mut self,
        effect: Effect,
        subject: Subject<'_>,
        rights: Rights,
        filter: &str,
    ) -> Result<(), RuleError> {
        if self.count >= RULES_MAX {
            return Err(RuleError::TooManyRules);
        }
        let rule = Rule { effect, rights, pattern: Pattern::parse(filter)? };
        let list = match subject {
            Subject::Everyone => &mut self.rules.everyone,
            Subject::Anonymous => &mut self.rules.anonymous,
            Subject::User("") => return Err(RuleError::EmptyUser),
            Subject::User(name) => self.rules.users.entry(name.into()).or_default(),
        };
        match effect {
            Effect::Allow => list.allows.push(rule),
            Effect::Deny => list.denies.push(rule),
        }
        self.count += 1;
        Ok(())
    }

    /// How many rules were added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no rule was added, which would refuse everything to everyone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The finished set.
    #[must_use]
    pub fn build(self) -> Arc<AccessRules> {
        Arc::new(self.rules)
    }
}

#[derive(Debug, Default)]
struct RuleList {
    denies: Vec<Rule>,
    allows: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    effect: Effect,
    rights: Rights,
    pattern: Pattern,
}

/// A rule's filter, cut into levels once.
#[derive(Debug)]
struct Pattern {
    levels: Box<[Level]>,
}

#[derive(Debug)]
enum Level {
    Literal(Box<str>),
    Template(Box<[Piece]>),
    Plus,
    Hash,
}

#[derive(Debug)]
enum Piece {
    Text(Box<str>),
    Username,
    ClientId,
}

/// How a template compares with one level of the request.
enum Filled {
    Equal,
    Different,
    /// The client has no user name: the rule is not about it.
    NotApplicable,
    /// The value has a character that would change the meaning of the filter.
    Unsafe,
}

impl Pattern {
    fn parse(filter: &str) -> Result<Self, RuleError> {
        if filter.is_empty() {
            return Err(RuleError::EmptyFilter);
        }
        if filter.len() > RULE_FILTER_BYTES_MAX {
            return Err(RuleError::FilterTooLong);
        }
        if filter.contains('\0') {
            return Err(RuleError::NulInFilter);
        }
        let mut levels = Vec::new();
        let mut parts = filter.split('/').peekable();
        while let Some(part) = parts.next() {
            levels.push(match part {
                "+" => Level::Plus,
                "#" if parts.peek().is_none() => Level::Hash,
                _ if part.contains(['+', '#']) => return Err(RuleError::MisplacedWildcard),
                _ => Level::parse(part)?,
            });
        }
        Ok(Self { levels: levels.into_boxed_slice() })
    }

    /// Whether every topic that `request` matches is matched by this pattern. A topic name is a filter that
    /// matches itself alone, so this one comparison serves all actions.
    fn covers(&self, who: &Identity<'_>, effect: Effect, request: &str) -> bool {
        let mut levels = self.levels.iter();
        let mut parts = request.split('/');
        let mut first = true;
        loop {
            let (level, part) = match (levels.next(), parts.next()) {
                (None, None) => return true,
                // `a/#` also matches `a` [MQTT-4.7.1-2].
                (Some(Level::Hash), None) => return levels.next().is_none(),
                (Some(level), Some(part)) => (level, part),
                (None, Some(_)) | (Some(_), None) => return false,
            };
            match level {
                Level::Literal(text) if **text == *part => {}
                Level::Literal(_) => return false,
                Level::Hash => return !(first && part.starts_with('$')),
                Level::Plus if part == "#" || (first && part.starts_with('$')) => return false,
                Level::Plus => {}
                Level::Template(pieces) => match fill(pieces, who, part, first) {
                    Filled::Equal => {}
                    Filled::Different | Filled::NotApplicable => return false,
                    // Such a value never widens what is allowed, nor does it slip past what is denied: the
                    // allow rule is void, and the deny rule reaches all that could follow here.
                    Filled::Unsafe => return effect == Effect::Deny,
                },
            }
            first = false;
        }
    }
}

impl Level {
    fn parse(part: &str) -> Result<Self, RuleError> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut chars = part.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            let piece = match chars.next() {
                Some('%') => {
                    text.push('%');
                    continue;
                }
                Some('u') => Piece::Username,
                Some('c') => Piece::ClientId,
                _ => return Err(RuleError::UnknownPlaceholder),
            };
            if !text.is_empty() {
                pieces.push(Piece::Text(core::mem::take(&mut text).into_boxed_str()));
            }
            pieces.push(piece);
        }
        if pieces.is_empty() {
            return Ok(Self::Literal(text.into_boxed_str()));
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.into_boxed_str()));
        }
        Ok(Self::Template(pieces.into_boxed_slice()))
    }
}

/// Compares a template, filled in for this client, with one level. All values are looked at before the verdict, so
/// that an unsafe one counts even where an earlier piece differs.
fn fill(pieces: &[Piece], who: &Identity<'_>, level: &str, first_level: bool) -> Filled {
    let mut rest = Some(level);
    for (index, piece) in pieces.iter().enumerate() {
        let value = match piece {
            Piece::Text(text) => {
                rest = rest.and_then(|rest| rest.strip_prefix(&**text));
                continue;
            }
            Piece::Username => match who.username {
                Some(name) => name,
                None => return Filled::NotApplicable,
            },
            Piece::ClientId => who.client_id,
        };
        // `$` at the front of the first level would reach the broker's own topics.
        let dollar = first_level && index == 0 && value.starts_with('$');
        if value.is_empty() || dollar || value.contains(['+', '#', '/', '\0']) {
            return Filled::Unsafe;
        }
        rest = rest.and_then(|rest| rest.strip_prefix(value));
    }
    if rest == Some("") { Filled::Equal } else { Filled::Different }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Identity<'_> = Identity { username: Some("alice"), client_id: "phone" };
    const NOBODY: Identity<'_> = Identity { username: None, client_id: "guest-1" };

    fn rules(entries: &[(Effect, Subject<'_>, Rights, &str)]) -> Arc<AccessRules> {
        let mut builder = AccessRules::builder();
        for (effect, subject, rights, filter) in entries {
            builder.add(*effect, *subject, *rights, filter).expect("a valid rule");
        }
        builder.build()
    }

    fn everyone(filter: &str) -> Arc<AccessRules> {
        rules(&[(Effect::Allow, Subject::Everyone, Rights::ALL, filter)])
    }

    #[test]
    fn the_empty_set_refuses_and_the_open_set_allows() {
        let none = rules(&[]);
        assert!(!none.may(&ALICE, Action::Read, "a"));
        assert!(!none.allows_everything());
        let open = AccessRules::open();
        assert!(open.may(&NOBODY, Action::Write, "$SYS/x"));
        assert!(open.allows_everything());
    }

    #[test]
    fn topics_are_matched_level_by_level() {
        let table = [
            ("a/b", "a/b", true),
            ("a/b", "a", false),
            ("a/b", "a/b/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a/", true),
            ("a/+", "a", false),
            ("a/+/c", "a/b/c", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("#", "a//b", true),
            ("+", "/a", false),
            ("/+", "/a", true),
            ("+/+", "/a", true),
            // [MQTT-4.7.2-1]
            ("#", "$SYS/broker", false),
            ("+/broker", "$SYS/broker", false),
            ("$SYS/#", "$SYS/broker", true),
            ("$SYS/+", "$SYS/broker", true),
            ("a/#", "a/$b", true),
        ];
        for (rule, topic, expected) in table {
            let rules = everyone(rule);
            assert_eq!(rules.may(&ALICE, Action::Read, topic), expected, "read {rule} {topic}");
            assert_eq!(rules.may(&ALICE, Action::Write, topic), expected, "write {rule} {topic}");
        }
    }

    #[test]
    fn a_subscription_must_be_covered_whole() {
        let table = [
            ("#", "#", true),
            ("#", "+/a", true),
            ("#", "$SYS/#", false),
            ("a/#", "a/#", true),
            ("a/#", "a", true),
            ("a/#", "a/+/c", true),
            ("a/#", "a/b/#", true),
            ("a/#", "#", false),
            ("a/#", "+/b", false),
            ("a/+", "a/+", true),
            ("a/+", "a/b", true),
            ("a/+", "a/#", false),
            ("a/+/c", "a/b/c", true),
            ("a/b", "a/+", false),
            ("a/+/#", "a/#", false),
            ("a/+/#", "a/b", true),
            ("+/#", "#", false),
        ];
        for (rule, filter, expected) in table {
            assert_eq!(everyone(rule).may(&ALICE, Action::Subscribe, filter), expected, "{rule} {filter}");
        }
    }

    /// Against the definition: over all topics of a small alphabet, covering means matching whatever the filter
    /// matches.
    #[test]
    fn covering_agrees_with_matching() {
        let levels = ["", "a", "b", "+"];
        let mut filters = vec!["#".to_owned()];
        for one in levels {
            filters.push(one.to_owned());
            filters.push(format!("{one}/#"));
            for two in levels {
                filters.push(format!("{one}/{two}"));
                filters.push(format!("{one}/{two}/#"));
            }
        }
        filters.retain(|filter| !filter.is_empty());
        // The level `z` stands for every literal that no filter names.
        let names = ["", "a", "b", "z"];
        let mut topics = Vec::new();
        for one in names {
            topics.push(one.to_owned());
            for two in names {
                topics.push(format!("{one}/{two}"));
                topics.extend(names.iter().map(|three| format!("{one}/{two}/{three}")));
                topics.extend(names.iter().map(|three| format!("{one}/{two}/{three}/z")));
            }
        }
        topics.retain(|topic| !topic.is_empty());
        for rule in &filters {
            let rules = everyone(rule);
            for filter in &filters {
                let requested = everyone(filter);
                let included = topics
                    .iter()
                    .filter(|topic| requested.may(&ALICE, Action::Read, topic))
                    .all(|topic| rules.may(&ALICE, Action::Read, topic));
                let covers = rules.may(&ALICE, Action::Subscribe, filter);
                assert!(included || !covers, "{rule} must not cover {filter}");
                // Coverage by several levels at once (`+/#` against `#`) may be refused, never the reverse.
                if included && !covers {
                    assert!(filter.ends_with('#'), "{rule} should cover {filter}");
                }
            }
        }
    }

    #[test]
    fn deny_wins_and_leaves_the_rest() {
        let rules = rules(&[
            (Effect::Allow, Subject::Everyone, Rights::ALL, "#"),
            (Effect::Deny, Subject::Everyone, Rights::SUBSCRIBE, "test/nosubscribe"),
            (Effect::Deny, Subject::User("alice"), Rights::READ, "secret/#"),
        ]);
        assert!(!rules.may(&ALICE, Action::Subscribe, "test/nosubscribe"));
        assert!(rules.may(&ALICE, Action::Subscribe, "test/#"), "not wholly denied");
        assert!(rules.may(&ALICE, Action::Read, "test/nosubscribe"));
        assert!(!rules.may(&ALICE, Action::Subscribe, "secret/+"));
        assert!(!rules.may(&ALICE, Action::Read, "secret/x"));
        assert!(rules.may(&ALICE, Action::Write, "secret/x"));
        assert!(rules.may(&NOBODY, Action::Read, "secret/x"));
    }

    #[test]
    fn subjects_and_rights_are_kept_apart() {
        let rules = rules(&[
            (Effect::Allow, Subject::User("alice"), Rights::WRITE, "w"),
            (Effect::Allow, Subject::Anonymous, Rights::READ, "r"),
            (Effect::Allow, Subject::Everyone, Rights::SUBSCRIBE, "s/#"),
        ]);
        let bob = Identity { username: Some("bob"), client_id: "alice" };
        assert!(rules.may(&ALICE, Action::Write, "w"));
        assert!(!rules.may(&ALICE, Action::Read, "w") && !rules.may(&ALICE, Action::Subscribe, "w"));
        assert!(!rules.may(&bob, Action::Write, "w") && !rules.may(&NOBODY, Action::Write, "w"));
        assert!(rules.may(&NOBODY, Action::Read, "r") && rules.may(&NOBODY, Action::Subscribe, "r"));
        assert!(!rules.may(&ALICE, Action::Read, "r"), "an account is not anonymous");
        assert!(rules.may(&bob, Action::Subscribe, "s/x") && !rules.may(&bob, Action::Read, "s/x"));
    }

    #[test]
    fn placeholders_are_filled_in_for_the_client() {
        let rules = rules(&[
            (Effect::Allow, Subject::Everyone, Rights::ALL, "u/%u/#"),
            (Effect::Allow, Subject::Everyone, Rights::ALL, "c/x-%c-y"),
            (Effect::Allow, Subject::Everyone, Rights::ALL, "p/100%%"),
            (Effect::Allow, Subject::Everyone, Rights::ALL, "b/%u%c"),
        ]);
        assert!(rules.may(&ALICE, Action::Write, "u/alice/inbox"));
        assert!(!rules.may(&ALICE, Action::Write, "u/bob/inbox"));
        assert!(!rules.may(&ALICE, Action::Subscribe, "u/+/inbox"));
        assert!(rules.may(&ALICE, Action::Write, "c/x-phone-y"));
        assert!(!rules.may(&ALICE, Action::Write, "c/x-phone-yy"));
        assert!(rules.may(&ALICE, Action::Write, "p/100%"));
        assert!(rules.may(&ALICE, Action::Write, "b/alicephone"));
        assert!(!rules.may(&NOBODY, Action::Write, "u//inbox"), "no user name, no rule");
    }

    #[test]
    fn hostile_names_never_widen_a_rule() {
        let allow = rules(&[
            (Effect::Allow, Subject::Everyone, Rights::ALL, "u/%u/#"),
            (Effect::Allow, Subject::Everyone, Rights::ALL, "%c/#"),
        ]);
        for name in ["+", "#", "a/b", "a+", "b/#", "", "nul\0"] {
            let who = Identity { username: Some(name), client_id: name };
            for topic in ["u/+/x", "u/#", "u/a/b", "+/x", "#", "a/b", "a/b/c", "u//x", "/x"] {
                for action in [Action::Read, Action::Write, Action::Subscribe] {
                    assert!(!allow.may(&who, action, topic), "{name:?} {topic}");
                }
            }
        }
        let system = Identity { username: None, client_id: "$SYS" };
        assert!(!allow.may(&system, Action::Read, "$SYS/broker/uptime"));
        assert!(!allow.may(&system, Action::Subscribe, "$SYS/#"));
    }

    #[test]
    fn hostile_names_do_not_slip_past_a_deny() {
        let rules = rules(&[
            (Effect::Allow, Subject::Everyone, Rights::ALL, "#"),
            (Effect::Deny, Subject::Everyone, Rights::ALL, "jail/%c"),
        ]);
        let hostile = Identity { username: None, client_id: "a/b" };
        assert!(!rules.may(&hostile, Action::Read, "jail/a/b"));
        assert!(rules.may(&hostile, Action::Read, "yard/a/b"));
        assert!(rules.may(&NOBODY, Action::Read, "jail/other"));
        assert!(!rules.may(&NOBODY, Action::Read, "jail/guest-1"));
    }

    #[test]
    fn a_bad_rule_is_refused_by_kind() {
        let mut builder = AccessRules::builder();
        let long = "a".repeat(RULE_FILTER_BYTES_MAX + 1);
        for (filter, expected) in [
            ("", RuleError::EmptyFilter),
            (long.as_str(), RuleError::FilterTooLong),
            ("a\0", RuleError::NulInFilter),
            ("a/#/b", RuleError::MisplacedWildcard),
            ("a#", RuleError::MisplacedWildcard),
            ("+a", RuleError::MisplacedWildcard),
            ("#/", RuleError::MisplacedWildcard),
            ("a/%x", RuleError::UnknownPlaceholder),
            ("a/%", RuleError::UnknownPlaceholder),
        ] {
            let added = builder.add(Effect::Allow, Subject::Everyone, Rights::ALL, filter);
            assert_eq!(added, Err(expected), "{filter}");
        }
        let added = builder.add(Effect::Allow, Subject::User(""), Rights::ALL, "a");
        assert_eq!(added, Err(RuleError::EmptyUser));
        assert!(builder.is_empty());
    }
}
