//! From a request to the plan that answers it.

use serde_json::{Map, Value};

use super::endpoints::ENDPOINTS;
use super::figures::Stage;
use super::plan::Plan;
use super::request::{Method, Request};
use super::response::Problem;
use crate::auth::KeyRing;
use crate::model::{Offset, ShardId, TopicName, placement};

/// What the process is, as far as answering needs it.
#[derive(Debug)]
pub struct Context<'a> {
    pub stage: Stage,
    pub shards: u16,
    /// What placement divides by.
    pub logs: u16,
    pub keys: &'a KeyRing,
    /// Where the logs are, as whoever is on this machine finds them.
    pub data_dir: &'a str,
    /// The listener is bound to a loopback address: whoever reaches it is on this machine.
    pub on_loopback: bool,
    /// Topics that get metrics of their own.
    pub metrics_per_topic: usize,
}

/// One thing that can be asked for.
pub struct Endpoint {
    pub method: Method,
    /// Segments; one in braces stands for any, and is the name of what stands there.
    pub path: &'static str,
    pub access: Access,
    pub summary: &'static str,
    pub query: &'static [Field],
    /// Fields of a JSON object; without any, a body is refused.
    pub body: &'static [Field],
    /// Status when all is well, and the schema of the answer; an empty name means plain text.
    pub answer: (u16, &'static str),
    pub plan: fn(&Call<'_>) -> Result<Plan, Problem>,
}

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody who reaches the port.
    Open,
    /// Who is on this machine and no page in a browser, or has a key that may administer.
    Admin,
}

/// A field of a query or a body.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub form: Form,
    pub meaning: &'static str,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    /// At least zero.
    Number,
    Flag,
}

/// A request at its endpoint.
pub struct Call<'a> {
    pub request: &'a Request,
    pub context: &'a Context<'a>,
    /// What stood in the path's braces, in order.
    pub names: Vec<&'a str>,
    body: Map<String, Value>,
}

/// What has to be done to answer a request.
pub fn route(request: &Request, context: &Context<'_>) -> Plan {
    plan(request, context).unwrap_or_else(|problem| Plan::Respond(problem.into()))
}

fn plan(request: &Request, context: &Context<'_>) -> Result<Plan, Problem> {
    let method = if request.method == Method::Head { Method::Get } else { request.method };
    let mut at_path = ENDPOINTS.iter().filter_map(|endpoint| Some((endpoint, matched(endpoint.path, request)?)));
    let Some(first) = at_path.next() else { return Err(Problem::new(404, "there is nothing here")) };
    let found = std::iter::once(first).chain(at_path).find(|(endpoint, _)| endpoint.method == method);
    let Some((endpoint, names)) = found else { return Err(Problem::new(405, "not with this method")) };
    if endpoint.access == Access::Admin {
        admit(request, context)?;
    }
    let call = Call { request, context, names, body: body(endpoint, request)? };
    call.check_query(endpoint)?;
    (endpoint.plan)(&call)
}

/// What stands in the braces of `path`, if the request's path is one of its kind.
fn matched<'a>(path: &str, request: &'a Request) -> Option<Vec<&'a str>> {
    let wanted: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if wanted.len() != request.path.len() {
        return None;
    }
    let mut names = Vec::new();
    for (wanted, segment) in wanted.into_iter().zip(&request.path) {
        if wanted.starts_with('{') {
            names.push(segment.as_str());
        } else if wanted != segment {
            return None;
        }
    }
    Some(names)
}

fn admit(request: &Request, context: &Context<'_>) -> Result<(), Problem> {
    match &request.key {
        Some(key) => match context.keys.authenticate(key) {
            Some(identity) if identity.permissions.may_administer() => Ok(()),
            Some(identity) => Err(Problem::new(403, format!("the key {} may not administer", identity.name))),
            None => Err(Problem::new(401, "invalid API key")),
        },
        None if context.on_loopback && !request.by_page => Ok(()),
        None => Err(Problem::new(401, "an API key is needed: Authorization: Bearer KEY")),
    }
}

fn body(endpoint: &Endpoint, request: &Request) -> Result<Map<String, Value>, Problem> {
    if request.body.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    let wrong = |error: serde_json::Error| Problem::bad(format!("the body is no JSON object: {error}"));
    let body: Map<String, Value> = serde_json::from_slice(&request.body).map_err(wrong)?;
    for (name, value) in &body {
        let field = endpoint.body.iter().find(|field| field.name == name);
        let field = field.ok_or_else(|| Problem::bad(format!("the body may not have {name}")))?;
        let fits = match field.form {
            Form::Text => value.is_string(),
            Form::Number => value.is_u64(),
            Form::Flag => value.is_boolean(),
        };
        if !fits && !value.is_null() {
            return Err(Problem::bad(format!("{name} is not {}", field.form.name())));
        }
    }
    Ok(body)
}

impl Form {
    pub fn name(self) -> &'static str {
        match self {
            Form::Text => "a text",
            Form::Number => "a whole number, at least zero",
            Form::Flag => "true or false",
        }
    }
}

impl Call<'_> {
    fn check_query(&self, endpoint: &Endpoint) -> Result<(), Problem> {
        let known = |name: &str| endpoint.query.iter().any(|field| field.name == name);
        match self.request.query.iter().find(|(name, _)| !known(name)) {
            Some((name, _)) => Err(Problem::bad(format!("the query may not have {name}"))),
            None => Ok(()),
        }
    }

    /// The topic that the path names, and the shard that owns it.
    pub fn topic(&self) -> Result<(TopicName, ShardId), Problem> {
        let topic = TopicName::parse(self.names[0].as_bytes()).map_err(|error| Problem::bad(error.to_string()))?;
        let owner = self.owner(&topic)?;
        Ok((topic, owner))
    }

    pub fn owner(&self, topic: &TopicName) -> Result<ShardId, Problem> {
        self.serving()?;
        let log = placement::log_of(topic, 0, self.context.logs);
        Ok(placement::shard_of(log, self.context.shards))
    }

    /// Shards can be asked once they are there.
    pub fn serving(&self) -> Result<(), Problem> {
        match self.context.stage {
            Stage::Starting => Err(Problem::new(503, "the broker is starting")),
            Stage::Serving | Stage::Draining => Ok(()),
        }
    }

    pub fn body_number(&self, name: &str) -> Option<u64> {
        self.body.get(name).and_then(Value::as_u64)
    }

    pub fn body_text(&self, name: &str) -> Option<&str> {
        self.body.get(name).and_then(Value::as_str)
    }

    pub fn body_flag(&self, name: &str) -> bool {
        self.body.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    pub fn query_flag(&self, name: &str) -> Result<bool, Problem> {
        match self.request.query(name) {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(_) => Err(Problem::bad(format!("{name} is not {}", Form::Flag.name()))),
        }
    }

    pub fn query_offset(&self, name: &str) -> Result<Offset, Problem> {
        let Some(text) = self.request.query(name) else { return Ok(Offset::ZERO) };
        text.parse().map(Offset).map_err(|_| Problem::bad(format!("{name} is not {}", Form::Number.name())))
    }
}
