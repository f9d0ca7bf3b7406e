//! AWS ECS' endpoint of tasks: their role's credentials for who knows the path, and what is known of their containers.

use serde_json::{Value, json};

use super::{
    Definition, ECS, Options,
    aws_data::Keys,
    clock::{http_date, iso8601, unix_time},
    on,
};
use crate::http::{Handler, Reply, Request, Response};

/// ECS' server.
pub(super) static DEFINITION: Definition = Definition {
    name: "ecs",
    title: "AWS ECS task credentials",
    hosts: &[],
    endpoints: &[on(ECS, 80)],
    headers: &[],
    path: "/v2/metadata",
    server: |options| Box::new(Ecs::new(options)),
};

/// The last part of the path that a task is told in `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`: on a real server nobody else
/// knows it.
const ID: &str = "00000000-0000-4000-a000-000000000000";
const ROLE: &str = "arn:aws:iam::111122223333:role/policyprobe-task";

struct Ecs {
    keys: Keys,
}

impl Ecs {
    fn new(options: &Options) -> Self {
        Self { keys: Keys::new(&options.seed, "task") }
    }

    fn credentials(&self) -> Value {
        let Keys { id, secret, token } = &self.keys;
        let expiration = iso8601(unix_time() + 6 * 3600);
        json!({
            "AccessKeyId": id, "Expiration": expiration, "RoleArn": ROLE, "SecretAccessKey": secret, "Token": token,
        })
    }
}

impl Handler for Ecs {
    fn answer(&self, request: &Request) -> Reply {
        let names: Vec<_> = request.path.split('/').filter(|name| !name.is_empty()).collect();
        let is_read = request.is_read();
        let (status, body) = match names[..] {
            _ if !is_read => (405, json!({"code": "MethodNotAllowed"})),
            ["v2", "credentials", ID] => (200, self.credentials()),
            ["v2", "credentials", ..] => {
                let message = "Credentials not found";
                (400, json!({"code": "InvalidIdInRequest", "HTTPErrorCode": 400, "message": message}))
            }
            ["v2", "metadata"] | ["v3" | "v4", ID, "task"] => (200, task()),
            ["v3" | "v4", ID] => (200, container()),
            ["v4", ID, "stats"] => (200, json!({"name": "/policyprobe", "num_procs": 0})),
            _ => (404, json!({"code": "NotFound"})),
        };
        let (body, date) = (body.to_string(), http_date());
        let length = body.len().to_string();
        let headers = [("Content-Type", "application/json"), ("Date", &date), ("Content-Length", &length)];
        Response::with(status, &headers, body).into()
    }
}

fn container() -> Value {
    json!({
        "DesiredStatus": "RUNNING", "DockerId": "0", "DockerName": "policyprobe", "Image": "policyprobe", "KnownStatus": "RUNNING",
        "Name": "policyprobe", "Networks": [{"IPv4Addresses": ["172.17.0.2"], "NetworkMode": "bridge"}], "Type": "NORMAL",
    })
}

fn task() -> Value {
    json!({
        "AvailabilityZone": "us-east-1a", "Cluster": "policyprobe", "Containers": [container()], "DesiredStatus": "RUNNING",
        "Family": "policyprobe", "KnownStatus": "RUNNING", "Revision": "1",
        "TaskARN": "arn:aws:ecs:us-east-1:111122223333:task/policyprobe/0",
    })
}
