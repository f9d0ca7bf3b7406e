//! Answering questions on one socket.

use tokio::net::UdpSocket;

use super::{Answer, LONGEST, Question, Received, receive, say_when};
use crate::http::{Entry, Event, Log, now, plain};

/// Answers each question with the identity, until the future is dropped. Its nonce is in the log before the answer is sent;
/// whatever else comes is neither answered nor logged.
pub async fn serve(socket: UdpSocket, identity: String, log: Log) {
    let mut buffer = [0; LONGEST];
    // Where that is refused, nobody knows how long a question waits.
    let _ = say_when(&socket);
    loop {
        let Ok(Received { length, peer, at }) = receive(&socket, &mut buffer).await else {
            // An error here is of an earlier answer, and is gone with the call.
            tokio::task::yield_now().await;
            continue;
        };
        let Some(question) = Question::read(&buffer[..length]) else { continue };
        let Ok(local) = socket.local_addr() else { continue };
        let (method, path) = ("UDP".to_owned(), String::new());
        let nonce = Some(question.nonce.clone());
        let entry =
            Entry { event: Event::Request, at: now(), nonce, peer: plain(peer), local, method, path, status: None };
        let number = log.add(entry);
        let held = at.and_then(|at| at.elapsed().ok()).unwrap_or_default();
        let held_us = u64::try_from(held.as_micros()).unwrap_or(u64::MAX);
        let answer = Answer { question, held_us, identity: identity.clone() };
        if socket.send_to(answer.text().as_bytes(), peer).await.is_ok() {
            log.answered(number, 200);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn a_question_is_answered_and_logged_and_noise_is_not() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, log) = (socket.local_addr().unwrap(), Log::default());
        let server = tokio::spawn(serve(socket, "pod/a/b".to_owned(), log.clone()));
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        client.connect(address).await.unwrap();
        client.send(b"noise").await.unwrap();
        let question = Question { nonce: "n1".to_owned(), number: 3 };
        client.send(question.text().as_bytes()).await.unwrap();
        let mut buffer = [0; LONGEST];
        let length = client.recv(&mut buffer).await.unwrap();
        let read = Answer::read(&buffer[..length]).unwrap();
        assert_eq!((&read.question, read.identity.as_str()), (&question, "pod/a/b"));
        let [entry] = log.entries().try_into().unwrap();
        assert_eq!(
            (entry.nonce.as_deref(), entry.method.as_str(), entry.peer),
            (Some("n1"), "UDP", client.local_addr().unwrap())
        );
        server.abort();
    }
}
