//! A Ditto of one thing and a status, small enough to be read: what a pass asks for happens here.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::adopt::Watched;
use super::super::call::{FoundPolicy, FoundThing, Metadata, ThingPatch};
use super::super::claim::Claim;
use super::super::desired::Desired;
use super::super::facts::{Known, PolicyFact, Told, TwinFacts};
use super::super::id::PolicyId;
use super::super::json::{Pointer, leaves, merge};
use super::super::mark::Mark;
use super::super::pass::TwinPass;
use super::super::reason::Outcome;
use super::super::request::{Answer, Next, Request};
use super::super::rql_text;
use super::super::said::{Refused, Said};
use super::identity;

pub const HEADER_ROOM: usize = 4_300;
pub const POLICY: &str = "org.acme:pumps";

/// All that a pass knows of a twin that nobody has looked at yet.
pub fn facts(desired: Desired) -> TwinFacts {
    TwinFacts {
        identity: identity(),
        id: Some(desired.id.clone()),
        desired: Ok(desired),
        claim: Claim::Ours,
        policy: PolicyFact::Managed(PolicyId::parse(POLICY).unwrap()),
        tenancy: Ok(()),
        paused: false,
        going: None,
        has_finalizer: true,
        known: Known::default(),
        takeover: None,
        living: ["uid-1".to_owned()].into(),
        watched: Watched::All,
        originator: None,
        subjects: vec!["nginx:operator".into()],
        folder: false,
    }
}

pub struct World {
    /// The thing as a whole, without its metadata.
    pub thing: Option<Value>,
    pub mark: Option<Value>,
    pub revision: u64,
    /// Policy id → whether it lets TwinOps in.
    pub policies: BTreeMap<String, bool>,
    /// What status holds. A folder has none.
    pub known: Known,
    /// What it holds at the API server, where the watch has not shown that yet.
    pub told: Option<Known>,
    pub folder: bool,
    /// What the next write is answered, without being carried out.
    pub refuse: Option<Refused>,
    /// Whether Ditto shows us neither the thing nor anything of it.
    pub hidden: bool,
    /// What a device does between a look and the write that follows it.
    pub device: Option<Value>,
    /// The operator dies after so many writes of the next pass, and before its status.
    pub dies_after: Option<u32>,
    pub asked: Vec<Request>,
}

impl World {
    pub fn new(folder: bool) -> Self {
        Self {
            thing: None,
            mark: None,
            revision: 0,
            policies: [(POLICY.to_owned(), true)].into(),
            known: Known::default(),
            told: None,
            folder,
            refuse: None,
            hidden: false,
            device: None,
            dies_after: None,
            asked: vec![],
        }
    }

    /// A thing that stands there already, made by somebody else.
    pub fn with_thing(folder: bool, mut document: Value) -> Self {
        document["policyId"] = json!(POLICY);
        Self { thing: Some(document), revision: 5, ..Self::new(folder) }
    }

    /// What stands at `path`; `null` when nothing does.
    pub fn at(&self, path: &str) -> Value {
        let found = self.thing.as_ref().and_then(|thing| Pointer::parse(path).get(thing));
        found.cloned().unwrap_or_default()
    }

    /// A merge by a device or an application.
    pub fn write(&mut self, patch: &Value) {
        if let Some(thing) = &mut self.thing {
            merge(thing, patch);
            self.revision += 1;
        }
    }

    pub fn mark(&self) -> Mark {
        self.mark.as_ref().and_then(Mark::from_json).expect("a mark")
    }

    pub fn pass(&mut self, desired: &Desired) -> Outcome {
        self.pass_with(facts(desired.clone()))
    }

    /// One pass, whose status is written unless the operator dies before.
    pub fn pass_with(&mut self, mut facts: TwinFacts) -> Outcome {
        facts.folder = self.folder;
        facts.known = self.known.clone();
        if self.folder {
            facts.identity.generation = 0;
        }
        self.asked.clear();
        let (mut pass, mut next) = TwinPass::start(facts, HEADER_ROOM);
        loop {
            match next {
                Next::Done(outcome) => {
                    self.remember(&outcome);
                    return *outcome;
                }
                Next::Ask(request) => {
                    assert!(self.asked.len() < 200, "the pass does not end: {request:?}");
                    self.asked.push(request.clone());
                    let answer = self.answer(request);
                    (pass, next) = pass.step(answer);
                    if self.dies_after.is_some_and(|writes| pass.so_far().writes >= writes) {
                        self.dies_after = None;
                        return pass.so_far();
                    }
                }
            }
        }
    }

    fn remember(&mut self, outcome: &Outcome) {
        if !self.folder {
            self.known = Known {
                id: outcome.id.clone(),
                origin: outcome.origin,
                applied: outcome.applied.clone(),
                revision: outcome.revision,
            };
        }
    }

    pub fn answer(&mut self, request: Request) -> Answer {
        if request.writes()
            && let Some(refused) = self.refuse.take()
        {
            return Answer::Written(Err(refused));
        }
        match request {
            Request::AddFinalizer | Request::RemoveFinalizer => Answer::Finalizer(Ok(())),
            Request::ReadStatus => Answer::Status(Ok(self.told.clone().map_or(Told::AsKnown, Told::Anew))),
            Request::FindThing { fields, .. } => Answer::Thing(Ok(self.find(&fields))),
            Request::CreateThing { body, mark, .. } => Answer::Written(self.create(body, mark)),
            Request::PatchThing { patch, .. } => {
                if let Some(faster) = self.device.take() {
                    self.write(&faster);
                }
                Answer::Written(self.patch(&patch))
            }
            Request::DeleteThing { condition, .. } => Answer::Deleted(self.delete(&condition)),
            Request::FindPolicy { id } => Answer::Policy(Ok(self.policy(id.as_str()))),
            other => panic!("no twin asks for {other:?}"),
        }
    }

    fn find(&self, fields: &[Pointer]) -> Option<FoundThing> {
        let thing = self.thing.as_ref().filter(|_| !self.hidden)?;
        let mut document = json!({});
        for field in fields {
            if let Some(value) = field.get(thing) {
                field.set(&mut document, value.clone());
            }
        }
        Some(FoundThing {
            id: "org.acme:pump".into(),
            revision: self.revision,
            policy_id: thing["policyId"].as_str().map(str::to_owned),
            mark: self.mark.clone(),
            document,
        })
    }

    fn policy(&self, id: &str) -> Option<FoundPolicy> {
        let subject = if *self.policies.get(id)? { "nginx:operator" } else { "nginx:somebody" };
        let resources = json!({"thing:/": {"grant": ["READ", "WRITE"], "revoke": []}});
        let entry = json!({"subjects": {subject: {"type": "x"}}, "resources": resources});
        Some(FoundPolicy { revision: 1, body: json!({"entries": {"o": entry}}) })
    }

    fn create(&mut self, body: Value, mark: Value) -> Result<u64, Refused> {
        if self.thing.is_some() {
            return Err(Refused::Changed(Said { status: 412, ..Said::default() }));
        }
        (self.thing, self.mark, self.revision) = (Some(body), Some(mark), 1);
        Ok(1)
    }

    fn patch(&mut self, patch: &ThingPatch) -> Result<u64, Refused> {
        if self.thing.is_none() || !self.holds(&patch.condition) {
            return Err(Refused::Changed(Said { status: 412, ..Said::default() }));
        }
        let mut body = patch.body.clone();
        assert_ne!(body, json!({}), "Ditto refuses an empty patch");
        for (node, rql) in &patch.guards {
            assert_eq!(rql, &rql_text::absent(node));
            if node.segments().len() < 2 {
                return Err(Refused::Invalid(Said { status: 400, ..Said::default() }));
            }
            if self.thing.as_ref().is_some_and(|thing| node.get(thing).is_some()) {
                node.remove(&mut body);
            }
        }
        let thing = self.thing.as_mut().expect("looked at above");
        for (path, value) in leaves(&body).into_iter().filter(|(path, _)| !path.is_root()) {
            let mut one = json!({});
            path.set(&mut one, value.clone());
            merge(thing, &one);
        }
        match &patch.metadata {
            Metadata::Keep => {}
            Metadata::Put(mark) => self.mark = Some(mark.clone()),
            Metadata::Delete => self.mark = None,
        }
        self.revision += 1;
        Ok(self.revision)
    }

    fn delete(&mut self, condition: &str) -> Result<(), Refused> {
        if self.thing.is_none() {
            return Err(Refused::Missing(Said { status: 404, ..Said::default() }));
        }
        if !self.holds(condition) {
            return Err(Refused::Changed(Said { status: 412, ..Said::default() }));
        }
        (self.thing, self.mark) = (None, None);
        Ok(())
    }

    /// The four fences that passes write.
    fn holds(&self, condition: &str) -> bool {
        let Some(mark) = self.mark.as_ref().and_then(Mark::from_json) else {
            return condition == rql_text::unmarked();
        };
        condition == rql_text::marked(&mark.uid)
            || condition == rql_text::marked_as(&mark)
            || (condition == rql_text::marked_created(&mark.uid) && mark.origin.word() == "Created")
    }
}
