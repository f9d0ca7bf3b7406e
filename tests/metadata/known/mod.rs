//! Known answers: what each cloud's server is known to say, byte for byte where that was captured, on the wire.
//!
//! The files beside this one hold them in the form of a transcript: a title after `#`, the server's flags after `$`, the
//! request after `>`, the answer's head after `<` (`< ...` stands for any headers, `*` for anything), headers that must be
//! absent after `!`, the body after `|`, one line each, and after `=` what else is known of it. What nobody knows of a real
//! server is in none of them.

mod transcript;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use self::transcript::{Answer, Transcript};
use crate::common::Served;

const FILES: [&str; 4] =
    [include_str!("aws.txt"), include_str!("google.txt"), include_str!("azure.txt"), include_str!("others.txt")];

/// The probes that every list of known answers must have.
const PROBES: &str = "AWS-1 AWS-2 AWS-3 AWS-4 AWS-5 AWS-6 GCP-1 GCP-2 GCP-3 GCP-4 GCP-5 AZ-1 AZ-2 AZ-3 AZ-4 AZ-5 OCI-1 ALI-1 \
                      DO-1 OS-1 EKS-1";

#[test]
fn every_known_answer_is_given() {
    let transcripts: Vec<_> = FILES.iter().flat_map(|file| Transcript::read(file)).collect();
    for probe in PROBES.split_whitespace() {
        assert!(transcripts.iter().any(|known| known.title.split(' ').next() == Some(probe)), "{probe} is missing");
    }
    let mut servers: BTreeMap<&str, Served> = BTreeMap::new();
    let mut wrong = Vec::new();
    for known in &transcripts {
        let mut words = known.server.split_whitespace();
        let cloud = words.next().unwrap();
        let server = servers.entry(known.server).or_insert_with(|| Served::new(cloud, &words.collect::<Vec<_>>()));
        let mut request = known.request.clone();
        if request.contains("{TOKEN}") {
            request = request.replace("{TOKEN}", &token(server.address, cloud));
        }
        let answer = ask(server.address, &request);
        if let Err(why) = known.check(&answer) {
            wrong.push(format!("{cloud}: {}: {why}\n{}", known.title, answer.head));
        }
    }
    assert!(wrong.is_empty(), "{} of {} are wrong:\n\n{}", wrong.len(), transcripts.len(), wrong.join("\n\n"));
}

/// A session token.
fn token(address: SocketAddr, cloud: &str) -> String {
    let header = if cloud == "alibaba" { "X-aliyun-ecs-metadata-token" } else { "X-aws-ec2-metadata-token" };
    ask(address, &format!("PUT /latest/api/token HTTP/1.1\r\n{header}-ttl-seconds: 60\r\n\r\n")).body
}

fn ask(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    // All is said: a server that would wait for more requests ends the connection too.
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Answer { head: head.to_owned(), body: body.to_owned() }
}
