//! One question over UDP, sent again while it is not answered.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

use super::{Ask, Finding, micros, proof::failure};
use crate::{
    probe::Outcome,
    udp::{Answer, LONGEST, Question, Received, receive},
};

/// How often a question is sent within its limit.
const SENT: u32 = 3;

/// Asks until an answer comes, an error says that none will, or the limit is over.
pub(super) async fn ask(ask: &Ask, socket: &UdpSocket, to: SocketAddr) -> Finding {
    let found = |outcome, resent, detail| Finding {
        address: Some(to.ip()),
        resent: Some(resent),
        ..Finding::of(ask.index, outcome, detail)
    };
    let limit = Duration::from_micros(ask.limit_us);
    // Only a connected socket is told of errors, and hears nobody else.
    if let Err(error) = socket.connect(to).await {
        return found(failure(&error), 0, Some(format!("connect: {error}")));
    }
    let began = Instant::now();
    let mut buffer = [0; LONGEST];
    let mut sent = Vec::new();
    for number in 0..SENT {
        let question = Question { nonce: ask.nonce.clone(), number };
        sent.push((Instant::now(), SystemTime::now()));
        if let Err(error) = socket.send(question.text().as_bytes()).await {
            return found(failure(&error), number, Some(format!("send: {error}")));
        }
        let until = began + limit * (number + 1) / SENT;
        while let Ok(received) = timeout_at(until, receive(socket, &mut buffer)).await {
            let Received { length, at: arrived, .. } = match received {
                Ok(received) => received,
                Err(error) => return found(failure(&error), number, Some(format!("receive: {error}"))),
            };
            let Some(answer) = Answer::read(&buffer[..length]) else {
                return found(Outcome::WrongServer, number, Some("an answer without identity".to_owned()));
            };
            let Answer { question: Question { nonce, number: answered }, held_us, identity } = answer;
            // An answer to whoever had this port before comes late, and says nothing.
            let Some((at, on)) = sent.get(answered as usize).filter(|_| nonce == ask.nonce) else { continue };
            // A clock that was set meanwhile says nothing.
            let way = arrived.and_then(|arrived| arrived.duration_since(*on).ok()).unwrap_or(Duration::MAX);
            let connect_us = Some(micros(way.min(at.elapsed())).saturating_sub(held_us));
            let found = |outcome, why| Finding { connect_us, held_us: Some(held_us), ..found(outcome, answered, why) };
            return if identity == ask.server {
                Finding { server: Some(identity), ..found(Outcome::Reached, None) }
            } else {
                let why = format!("{identity} answered, not {}", ask.server);
                Finding { server: Some(identity), ..found(Outcome::WrongServer, Some(why)) }
            };
        }
    }
    found(Outcome::TimedOut, SENT - 1, Some(format!("no answer after {} ms, asked {SENT} times", limit.as_millis())))
}
