//! The description of the API that tools read: OpenAPI 3.0.

use serde_json::{Map, Value, json};

use super::endpoints::ENDPOINTS;
use super::route::{Access, Endpoint, Field, Form};
use super::schemas::schemas;

/// All of it.
pub fn description() -> Value {
    let mut paths = Map::new();
    for endpoint in ENDPOINTS {
        let at_path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        at_path[endpoint.method.name().to_lowercase()] = operation(endpoint);
    }
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "BlipMQ",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Metrics, health and administration of one broker. A listener on a loopback address asks for no \
                            key of whoever is on the machine, unless a page in a browser asks; any other listener asks for \
                            a key that may administer.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let (status, schema) = endpoint.answer;
    let content = match schema {
        "" => json!({ "text/plain": { "schema": { "type": "string" } } }),
        name => json!({ "application/json": { "schema": reference(name) } }),
    };
    let problem = json!({ "application/problem+json": { "schema": reference("Problem") } });
    let mut responses = Map::new();
    responses.insert(status.to_string(), json!({ "description": endpoint.summary, "content": content }));
    if endpoint.path.starts_with("/health") {
        responses.insert("503".into(), json!({ "description": "Not so", "content": content }));
    }
    responses.insert("default".into(), json!({ "description": "Why not", "content": problem }));
    let mut operation = json!({
        "summary": endpoint.summary,
        "parameters": parameters(endpoint),
        "responses": responses,
        "security": if endpoint.access == Access::Admin { json!([{}, { "key": [] }]) } else { json!([]) },
    });
    if !endpoint.body.is_empty() {
        let fields: Map<String, Value> =
            endpoint.body.iter().map(|field| (field.name.into(), described(field))).collect();
        let schema = json!({ "type": "object", "properties": fields, "additionalProperties": false });
        operation["requestBody"] = json!({ "content": { "application/json": { "schema": schema } } });
    }
    operation
}

fn parameters(endpoint: &Endpoint) -> Vec<Value> {
    let braces = endpoint.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let in_path =
        braces.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let in_query = endpoint.query.iter().map(
        |field| json!({ "name": field.name, "in": "query", "description": field.meaning, "schema": form(field.form) }),
    );
    in_path.chain(in_query).collect()
}

fn described(field: &Field) -> Value {
    let mut schema = form(field.form);
    schema["description"] = field.meaning.into();
    schema["nullable"] = true.into();
    schema
}

fn form(form: Form) -> Value {
    match form {
        Form::Text => json!({ "type": "string" }),
        Form::Number => json!({ "type": "integer", "minimum": 0 }),
        Form::Flag => json!({ "type": "boolean" }),
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}
