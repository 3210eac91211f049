//! What goes wrong, where, and how to write that down so that it can be played again.
use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use super::wire::{Asked, Side};

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It never arrives, and the connection breaks.
    Unsent,
    /// It is carried out, and the connection breaks.
    Lost,
    /// It is refused with this status and not carried out.
    Refused(u16),
    /// It is answered from the version before the last one.
    Stale,
    /// The search index knows nothing.
    EmptyIndex,
    /// The operator is killed before it arrives.
    CrashBefore,
    /// The operator is killed once it is carried out.
    CrashAfter,
    /// As [`Fault::CrashAfter`], and the next operator's first list is older than its last watch event.
    CrashStale,
    /// Another operator leads now. The old one stands still until all is quiet, then goes on with this request.
    Deposed,
    /// As [`Fault::Deposed`], and the old one stands still until the end of the scenario.
    DeposedLong,
    /// The next step of the scenario happens right before it.
    StepFirst,
    /// The device writes right before it.
    DeviceFirst,
}

/// What happens to one watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Twist {
    /// It is shown twice.
    Twice,
    /// It, and all after it, are shown once nothing else is to do.
    Late,
    /// It is never shown; the watch starts over with a list once nothing else is to do.
    Missed,
}

const NAMED: [(&str, Fault); 11] = [
    ("Unsent", Fault::Unsent),
    ("Lost", Fault::Lost),
    ("Stale", Fault::Stale),
    ("EmptyIndex", Fault::EmptyIndex),
    ("CrashBefore", Fault::CrashBefore),
    ("CrashAfter", Fault::CrashAfter),
    ("CrashStale", Fault::CrashStale),
    ("Deposed", Fault::Deposed),
    ("DeposedLong", Fault::DeposedLong),
    ("StepFirst", Fault::StepFirst),
    ("DeviceFirst", Fault::DeviceFirst),
];
const REFUSALS: [u16; 6] = [403, 409, 412, 429, 500, 503];
const TWISTS: [(&str, Twist); 3] =
    [("Twice", Twist::Twice), ("Late", Twist::Late), ("Missed", Twist::Missed)];

impl Fault {
    /// The faults that this request can meet.
    pub fn of(asked: &Asked) -> Vec<Self> {
        let all = NAMED.iter().map(|(_, fault)| *fault).chain(REFUSALS.map(Self::Refused));
        all.filter(|fault| fault.fits(asked)).collect()
    }

    pub fn fits(self, asked: &Asked) -> bool {
        let (writes, in_ditto) = (asked.writes(), asked.side == Side::Ditto);
        match self {
            Self::Unsent
            | Self::CrashBefore
            | Self::Deposed
            | Self::DeposedLong
            | Self::StepFirst
            | Self::Refused(429 | 500) => true,
            Self::Lost | Self::CrashAfter | Self::CrashStale | Self::Refused(409) => writes,
            Self::Refused(412) => writes && in_ditto,
            Self::Refused(_) | Self::DeviceFirst => in_ditto,
            // Ditto answers reads of one thing or policy from where it is written: never from before.
            Self::Stale => !writes && !in_ditto,
            Self::EmptyIndex => asked.is_search(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(status) => write!(f, "{status}"),
            other => write!(f, "{other:?}"),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = NAMED.iter().find(|(name, _)| *name == text).map(|(_, fault)| *fault);
        named.or_else(|| text.parse().ok().map(Self::Refused)).ok_or_else(|| format!("{text:?} is no fault"))
    }
}

/// An operator that is broken on purpose, by what becomes of its requests: the simulation must catch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Patches and deletes things without a condition.
    Unfenced,
    /// Seeds without guards.
    Unguarded,
    /// Creates over what is there.
    CreatesOver,
    /// Writes policies whatever their revision.
    WritesOver,
    /// Leaves no mark.
    Unmarked,
    /// Believes that its finalizer stands there, although it never put it on.
    Unfinalized,
    /// Never deletes, and believes it did.
    NeverDeletes,
    /// Never writes status, and believes it did.
    NeverReports,
    /// Never takes away what the spec no longer declares, and believes it did.
    NeverRemoves,
    /// Never writes to things, and reports that it did.
    ReportsUnwritten,
    /// Never writes one enforced path, and reports that it did.
    ForgetsOne,
    /// Takes what its watch showed for what is.
    BelievesItsView,
}

impl Mutant {
    pub const ALL: [Self; 12] = [
        Self::Unfenced,
        Self::Unguarded,
        Self::CreatesOver,
        Self::WritesOver,
        Self::Unmarked,
        Self::Unfinalized,
        Self::NeverDeletes,
        Self::NeverReports,
        Self::NeverRemoves,
        Self::ReportsUnwritten,
        Self::ForgetsOne,
        Self::BelievesItsView,
    ];

    /// What the mutant sends instead; `None` is nothing, and it takes that for a success.
    pub fn tamper(self, asked: &Asked) -> Option<Asked> {
        let mut asked = asked.clone();
        let (is_thing, is_policy) = (asked.path().contains("/things/"), asked.path().contains("/policies/"));
        let is_patch = asked.side == Side::Cluster && asked.method() == "PATCH";
        match self {
            Self::Unfenced if is_thing && asked.writes() => asked.drop_query(),
            Self::Unguarded => asked.drop_header("merge-thing-patch-conditions"),
            Self::CreatesOver if is_thing => asked.drop_header("if-none-match"),
            Self::WritesOver if is_policy => asked.drop_header("if-match"),
            Self::Unmarked => asked.drop_header("put-metadata"),
            Self::Unfinalized if is_patch && !asked.path().ends_with("/status") => {
                let adds =
                    asked.body()["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
                return (!adds).then_some(asked);
            }
            Self::NeverDeletes if asked.method() == "DELETE" => return None,
            Self::NeverReports if is_patch && asked.path().ends_with("/status") => return None,
            Self::ReportsUnwritten if is_thing && asked.writes() && asked.method() != "DELETE" => {
                return None;
            }
            Self::NeverRemoves if is_thing && asked.method() == "PATCH" => {
                return without(asked, &Value::is_null);
            }
            Self::ForgetsOne if is_thing && asked.method() == "PATCH" => {
                return without(asked, &|value| value.as_str().is_some_and(|text| text.starts_with("hall-")));
            }
            _ => {}
        }
        Some(asked)
    }
}

/// The same patch without some of its leaves; `None` when nothing is left of it.
fn without(mut asked: Asked, leaf: &dyn Fn(&Value) -> bool) -> Option<Asked> {
    fn drop(value: &mut Value, leaf: &dyn Fn(&Value) -> bool) {
        let Value::Object(members) = value else { return };
        members.retain(|_, member| !leaf(member));
        members.values_mut().for_each(|member| drop(member, leaf));
        members.retain(|_, member| *member != json!({}));
    }
    let mut body = asked.body();
    drop(&mut body, leaf);
    asked.drop_header("content-length");
    *asked.request.body_mut() = body.to_string().into_bytes();
    (body != json!({})).then_some(asked)
}

/// One run: a scenario, its faults, and the seed of the scheduler when it is not the plain one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub scenario: String,
    /// By the number of the request.
    pub faults: Vec<(usize, Fault)>,
    /// By the number of the watch event.
    pub twists: Vec<(usize, Twist)>,
    pub seed: Option<u64>,
    /// Device writes of a storm.
    pub writes: usize,
    /// Not part of the text: only the tests of the simulation itself break the operator.
    pub mutant: Option<Mutant>,
}

impl Plan {
    pub fn plain(scenario: &str) -> Self {
        Self { scenario: scenario.to_owned(), ..Self::default() }
    }

    pub fn fault(&self, request: usize) -> Option<Fault> {
        self.faults.iter().find(|(at, _)| *at == request).map(|(_, fault)| *fault)
    }

    pub fn twist(&self, event: usize) -> Option<Twist> {
        self.twists.iter().find(|(at, _)| *at == event).map(|(_, twist)| *twist)
    }
}

/// `create:r3=Lost,e5=Twice,s=77`, or `storm:s=34,w=2000`
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = self.faults.iter().map(|(at, fault)| format!("r{at}={fault}"));
        let twists = self.twists.iter().map(|(at, twist)| format!("e{at}={twist:?}"));
        let seed = self.seed.iter().map(|seed| format!("s={seed}"));
        let writes = (self.writes > 0).then(|| format!("w={}", self.writes));
        let parts: Vec<String> = faults.chain(twists).chain(seed).chain(writes).collect();
        write!(f, "{}:{}", self.scenario, parts.join(","))
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scenario, parts) = text.split_once(':').unwrap_or((text, ""));
        let mut plan = Self::plain(scenario);
        for part in parts.split(',').filter(|part| !part.is_empty()) {
            let (place, what) = part.split_once('=').ok_or_else(|| format!("{part:?} has no `=`"))?;
            let number = |place: &str| place.parse::<usize>().map_err(|error| format!("{place:?}: {error}"));
            match place.split_at(1) {
                ("r", at) => plan.faults.push((number(at)?, what.parse()?)),
                ("e", at) => {
                    let twist = TWISTS.iter().find(|(name, _)| *name == what);
                    let (_, twist) = twist.ok_or_else(|| format!("{what:?} is no twist"))?;
                    plan.twists.push((number(at)?, *twist));
                }
                ("s", _) => plan.seed = Some(what.parse().map_err(|error| format!("{what:?}: {error}"))?),
                ("w", _) => plan.writes = number(what)?,
                _ => return Err(format!("{part:?} names no request, event, seed or number of writes")),
            }
        }
        Ok(plan)
    }
}

/// Numbers that are the same for the same seed, on every machine and in every version (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        usize::try_from(self.next() % sides.max(1) as u64).unwrap_or_default()
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.roll(one_in) == 0
    }
}
