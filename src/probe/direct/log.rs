//! What a server beside the prober has seen, asked at its control endpoint.

use std::{collections::BTreeSet, io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// What the endpoint may take: it is on this machine, or near.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which of these nonces the server knows whose control endpoint is here. The error says why nobody knows.
pub(super) async fn seen(at: SocketAddr, nonces: &BTreeSet<String>) -> Result<BTreeSet<String>, String> {
    let answer = match timeout(PATIENCE, post(at, nonces)).await {
        Ok(answer) => answer.map_err(|error| format!("{at}: {error}"))?,
        Err(_) => return Err(format!("{at} does not answer within {} s", PATIENCE.as_secs())),
    };
    // Whoever answers anything else is somebody else.
    let known = read(&answer).filter(|known| known.is_subset(nonces));
    known.ok_or_else(|| format!("{at} does not answer as a control endpoint"))
}

async fn post(at: SocketAddr, nonces: &BTreeSet<String>) -> io::Result<String> {
    let body: String = nonces.iter().flat_map(|nonce| [nonce, "\n"]).collect();
    let head =
        format!("POST /nonces HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all((head + &body).as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The lines of a whole answer.
fn read(answer: &str) -> Option<BTreeSet<String>> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?;
    let is_whole = head.starts_with("HTTP/1.1 200 ") && length.parse() == Ok(body.len());
    is_whole.then(|| body.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_cut_short_says_nothing() {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na\nb\n";
        assert_eq!(read(answer), Some(["a".to_owned(), "b".to_owned()].into()));
        assert_eq!(read(&answer[..answer.len() - 2]), None);
        assert_eq!(read(&answer.replace("200 OK", "404 Not Found")), None);
        assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Some(BTreeSet::new()));
    }
}
