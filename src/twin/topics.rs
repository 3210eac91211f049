//! Topics of MQTT: which thing a message is about, and where a command goes. The topic decides, never the payload.
use std::fmt::Write;

use percent_encoding::percent_decode_str;

use super::id::{ThingId, is_key};

/// The longest topic MQTT can carry, in bytes. Source: MQTT 5, 1.5.4.
pub const TOPIC_BYTES_MAX: usize = 65_535;
/// The level below the commands topic on which a device asks for its commands.
pub const GET: &str = "get";
/// The most topics telemetry may arrive on: they are subscribed to with one packet.
const TELEMETRY_TOPICS_MAX: usize = 16;
const THING: &str = "{thingId}";
const FEATURE: &str = "{feature}";
const CORRELATION: &str = "{correlationId}";

/// Why a text is no pattern of topics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicsError {
    #[error("`{0}` names no `{{thingId}}`")]
    NoThing(String),
    #[error("`{0}` names `{1}` twice")]
    Twice(String, &'static str),
    #[error("`{0}`: a level is a name without `+`, `#` and braces, or one of {1}")]
    Level(String, &'static str),
    #[error("`{0}` names no `{{correlationId}}`")]
    NoCorrelation(String),
    #[error("at least one topic for telemetry, and at most {TELEMETRY_TOPICS_MAX}")]
    Count,
    #[error("`{0}` and `{1}` are the same to the broker: give them different names")]
    Same(String, String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Name(String),
    Thing,
    Feature,
    Correlation,
}

/// Levels, some of them placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern(Vec<Level>);

/// What the placeholders of a topic stand for.
#[derive(Default)]
struct Found<'t> {
    thing: &'t str,
    feature: Option<&'t str>,
    correlation: &'t str,
}

impl Pattern {
    fn parse(text: &str, known: &[(&'static str, Level)], shown: &'static str) -> Result<Self, TopicsError> {
        let level = |word: &str| match known.iter().find(|(name, _)| *name == word) {
            Some((_, level)) => Ok(level.clone()),
            None if word.contains(['+', '#', '{', '}', '\0']) => {
                Err(TopicsError::Level(text.to_owned(), shown))
            }
            None => Ok(Level::Name(word.to_owned())),
        };
        let levels = text.split('/').map(level).collect::<Result<Vec<_>, _>>()?;
        for (name, placeholder) in known {
            if levels.iter().filter(|level| *level == placeholder).count() > 1 {
                return Err(TopicsError::Twice(text.to_owned(), name));
            }
        }
        if levels.contains(&Level::Thing) {
            Ok(Self(levels))
        } else {
            Err(TopicsError::NoThing(text.to_owned()))
        }
    }

    /// What to subscribe to.
    fn filter(&self) -> String {
        let levels = self.0.iter().map(|level| match level {
            Level::Name(name) => name.as_str(),
            _ => "+",
        });
        levels.collect::<Vec<_>>().join("/")
    }

    fn read<'t>(&self, topic: &'t str) -> Option<Found<'t>> {
        let mut found = Found::default();
        let mut words = topic.split('/');
        for level in &self.0 {
            let word = words.next()?;
            match level {
                Level::Name(name) if name == word => {}
                Level::Name(_) => return None,
                Level::Thing => found.thing = word,
                Level::Feature => found.feature = Some(word),
                Level::Correlation => found.correlation = word,
            }
        }
        words.next().is_none().then_some(found)
    }

    fn below(&self, name: &str) -> Self {
        let mut levels = self.0.clone();
        levels.push(Level::Name(name.to_owned()));
        Self(levels)
    }

    fn of(&self, thing: &ThingId) -> String {
        let levels = self.0.iter().map(|level| match level {
            Level::Name(name) => name.clone(),
            _ => encode(thing.as_str()),
        });
        levels.collect::<Vec<_>>().join("/")
    }
}

/// Where devices and twins talk to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    telemetry: Vec<Pattern>,
    commands: Pattern,
    get: Pattern,
    responses: Pattern,
}

impl Default for Topics {
    fn default() -> Self {
        let name = |text: &str| Level::Name(text.to_owned());
        let commands = Pattern(vec![name("devices"), Level::Thing, name("commands")]);
        Self {
            telemetry: vec![Pattern(vec![name("devices"), Level::Thing, name("telemetry")])],
            get: commands.below(GET),
            commands,
            responses: Pattern(vec![name("devices"), Level::Thing, name("responses"), Level::Correlation]),
        }
    }
}

/// What arrived on a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// Of one feature, when its topic names one.
    Telemetry { thing: ThingId, feature: Option<String> },
    /// A device asks for its commands.
    Get { thing: ThingId },
    /// A device answers a message.
    Response { thing: ThingId, correlation: String },
}

impl Topics {
    pub fn parse(telemetry: &[&str], commands: &str, responses: &str) -> Result<Self, TopicsError> {
        if !(1..=TELEMETRY_TOPICS_MAX).contains(&telemetry.len()) {
            return Err(TopicsError::Count);
        }
        let of_feature = [(THING, Level::Thing), (FEATURE, Level::Feature)];
        let of_answer = [(THING, Level::Thing), (CORRELATION, Level::Correlation)];
        let read = |text: &&str| Pattern::parse(text, &of_feature, "{thingId}, {feature}");
        let telemetry = telemetry.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let commands = Pattern::parse(commands, &of_feature[..1], "{thingId}")?;
        let answers = Pattern::parse(responses, &of_answer, "{thingId}, {correlationId}")?;
        if !answers.0.contains(&Level::Correlation) {
            return Err(TopicsError::NoCorrelation(responses.to_owned()));
        }
        let topics = Self { get: commands.below(GET), telemetry, commands, responses: answers };
        let mut filters = topics.filters();
        filters.push(topics.commands.filter());
        for (at, filter) in filters.iter().enumerate() {
            if filters[..at].contains(filter) {
                return Err(TopicsError::Same(filter.clone(), filter.clone()));
            }
        }
        Ok(topics)
    }

    /// All that is subscribed to: telemetry first.
    pub fn filters(&self) -> Vec<String> {
        let patterns = self.telemetry.iter().chain([&self.get, &self.responses]);
        patterns.map(Pattern::filter).collect()
    }

    /// How many of the [`Topics::filters`] are for telemetry.
    pub fn telemetry_filters(&self) -> usize {
        self.telemetry.len()
    }

    /// Whether it is the topic of a device: what is said there is heard by the bridge, or by the device.
    pub fn is_taken(&self, topic: &str) -> bool {
        let patterns = self.telemetry.iter().chain([&self.get, &self.responses, &self.commands]);
        patterns.into_iter().any(|pattern| pattern.read(topic).is_some())
    }

    /// `None` for a topic that names no thing the way [`encode`] would.
    pub fn read(&self, topic: &str) -> Option<Arrived> {
        if topic.len() > TOPIC_BYTES_MAX {
            return None;
        }
        if let Some(found) = self.telemetry.iter().find_map(|pattern| pattern.read(topic)) {
            let feature = match found.feature {
                Some(word) => Some(decode(word).filter(|id| is_key(id) && !id.contains('*'))?),
                None => None,
            };
            return Some(Arrived::Telemetry { thing: thing(found.thing)?, feature });
        }
        if let Some(found) = self.get.read(topic) {
            return Some(Arrived::Get { thing: thing(found.thing)? });
        }
        let found = self.responses.read(topic)?;
        let correlation = decode(found.correlation).filter(|id| !id.is_empty())?;
        Some(Arrived::Response { thing: thing(found.thing)?, correlation })
    }

    pub fn commands(&self, thing: &ThingId) -> String {
        self.commands.of(thing)
    }

    /// The topic of one subject, one level below the commands; `None` where devices ask for theirs.
    pub fn subject(&self, thing: &ThingId, subject: &str) -> Option<String> {
        (subject != GET).then(|| format!("{}/{}", self.commands.of(thing), encode(subject)))
    }
}

fn thing(word: &str) -> Option<ThingId> {
    ThingId::parse(&decode(word)?).ok()
}

/// A text as one level of a topic: `%`, `+`, `#`, `/` and control characters as `%XX`, all else as it is.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_control() || matches!(c, '%' | '+' | '#' | '/') {
            let _infallible = write!(out, "%{:02X}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// What [`encode`] made. `None` for any other writing of it: a thing has one topic, so that a rule of the broker
/// about that topic is a rule about the thing.
pub fn decode(word: &str) -> Option<String> {
    if word.contains(|c: char| c.is_ascii_control() || matches!(c, '+' | '#')) {
        return None;
    }
    if !word.contains('%') {
        return Some(word.to_owned());
    }
    let text = percent_decode_str(word).decode_utf8().ok()?.into_owned();
    (encode(&text) == word).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(text: &str) -> ThingId {
        ThingId::parse(text).unwrap()
    }

    #[test]
    fn s47_only_the_exact_topic_of_a_thing_is_taken() {
        let long = format!("devices/a:{}/telemetry", "x".repeat(65_000));
        let rows = [
            ("devices/a:b/telemetry", Some("a:b")),
            (
                "devices/com.example:temperature-sensor-01/telemetry",
                Some("com.example:temperature-sensor-01"),
            ),
            ("devices/a:b%2Bc%23d/telemetry", Some("a:b+c#d")),
            ("devices/a:50%25/telemetry", Some("a:50%")),
            ("devices/a:%252B/telemetry", Some("a:%2B")),
            ("devices/a:泵/telemetry", Some("a:泵")),
            // Other writings of the same thing are no second way to it.
            ("devices/a%3Ab/telemetry", None),
            ("devices/a:b%2bc/telemetry", None),
            ("devices/a:%62/telemetry", None),
            ("devices/a:50%/telemetry", None),
            ("devices/a:b+c/telemetry", None),
            ("devices/a:%2F/telemetry", None),
            ("devices/a:%FF/telemetry", None),
            ("devices/a:%00/telemetry", None),
            ("devices/+/telemetry", None),
            ("devices/#", None),
            ("devices/a/b/telemetry", None),
            ("devices//telemetry", None),
            ("devices/a:b/telemetry/", None),
            ("/devices/a:b/telemetry", None),
            ("devices/a:b/telemetry/x", None),
            ("devices/nocolon/telemetry", None),
            ("$SYS/broker/uptime", None),
            ("$share/g/devices/a:b/telemetry", None),
            ("", None),
            (long.as_str(), None),
        ];
        for (topic, thing) in rows {
            let expected = thing.map(|thing| Arrived::Telemetry { thing: id(thing), feature: None });
            assert_eq!(Topics::default().read(topic), expected, "{topic}");
        }
    }

    #[test]
    fn requests_and_responses_have_topics_of_their_own() {
        let topics = Topics::default();
        assert_eq!(topics.read("devices/a:b/commands/get"), Some(Arrived::Get { thing: id("a:b") }));
        let response = Arrived::Response { thing: id("a:b"), correlation: "x/1".to_owned() };
        assert_eq!(topics.read("devices/a:b/responses/x%2F1"), Some(response));
        assert_eq!(topics.read("devices/a:b/responses/"), None);
        assert_eq!(topics.read("devices/a:b/commands"), None);
        assert_eq!(
            topics.filters(),
            ["devices/+/telemetry", "devices/+/commands/get", "devices/+/responses/+"]
        );
        assert_eq!(topics.commands(&id("a:b+c")), "devices/a:b%2Bc/commands");
        assert_eq!(
            topics.subject(&id("a:b"), "set/level").as_deref(),
            Some("devices/a:b/commands/set%2Flevel")
        );
        assert_eq!(topics.subject(&id("a:b"), "get"), None);
    }

    #[test]
    fn patterns_are_settings() {
        let usual = ("devices/{thingId}/commands", "devices/{thingId}/responses/{correlationId}");
        let topics =
            Topics::parse(&["plant/{thingId}/up", "f/{feature}/{thingId}"], usual.0, usual.1).unwrap();
        let arrived = topics.read("f/lamp/a:b");
        assert_eq!(arrived, Some(Arrived::Telemetry { thing: id("a:b"), feature: Some("lamp".to_owned()) }));
        assert_eq!(topics.read("f/*/a:b"), None);
        assert_eq!(topics.read("devices/a:b/telemetry"), None);
        assert_eq!(Topics::parse(&["devices/{thingId}/telemetry"], usual.0, usual.1), Ok(Topics::default()));
        let wrong = [
            (vec!["a/telemetry"], usual.0, usual.1, "names no `{thingId}`"),
            (vec!["{thingId}/{thingId}"], usual.0, usual.1, "twice"),
            (vec!["x{thingId}"], usual.0, usual.1, "a level is a name"),
            (vec!["+/{thingId}"], usual.0, usual.1, "a level is a name"),
            (vec![], usual.0, usual.1, "at least one"),
            (vec!["a/{thingId}"], "c/{thingId}/{feature}", usual.1, "a level is a name"),
            (vec!["a/{thingId}"], usual.0, "r/{thingId}", "names no `{correlationId}`"),
            (vec!["devices/{thingId}/commands"], usual.0, usual.1, "are the same"),
            (vec!["a/{thingId}", "a/{thingId}"], usual.0, usual.1, "are the same"),
        ];
        for (telemetry, commands, responses, part) in wrong {
            let error = Topics::parse(&telemetry, commands, responses).unwrap_err().to_string();
            assert!(error.contains(part), "{telemetry:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn s47_every_thing_has_one_topic_that_leads_back_to_it(name in r"[^\x00-\x1f\x7f-\xff/]{1,40}") {
            let Ok(thing) = ThingId::parse(&format!("a:{name}")) else { return Ok(()) };
            let word = encode(thing.as_str());
            prop_assert!(!word.contains(['/', '+', '#']));
            let topic = format!("devices/{word}/telemetry");
            let arrived = Topics::default().read(&topic);
            prop_assert_eq!(arrived, Some(Arrived::Telemetry { thing, feature: None }));
        }

        #[test]
        fn s47_no_topic_makes_it_panic_or_means_two_things(topic in r"(devices/)?[ -~]{0,30}(/telemetry|/commands/get)?") {
            if let Some(Arrived::Telemetry { thing, .. }) = Topics::default().read(&topic) {
                prop_assert_eq!(format!("devices/{}/telemetry", encode(thing.as_str())), topic);
            }
        }
    }
}
