//! Requests by raw socket: whole, in pieces, several at once, broken.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use crate::common::Served;

const ID: &str = "/latest/meta-data/instance-id";
const NAME: &str = "GET /computeMetadata/v1/instance/name HTTP/1.1\r\nHost: metadata\r\nMetadata-Flavor: Google\r\n";

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// All that comes back. A reset after an answer is as good as an end.
fn rest(stream: &mut TcpStream) -> String {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn talk(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    // The server may refuse before it has read all.
    let _ = stream.write_all(request.as_bytes());
    rest(&mut stream)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n")
}

fn assert_serves(server: &Served) {
    let answer = talk(server.address, &get(ID));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("i-0123456789abcdef0"), "{answer}");
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let server = Served::new("aws", &[]);
    let mut stream = connect(server.address);
    for byte in get(ID).bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert!(rest(&mut stream).ends_with("i-0123456789abcdef0"));
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let server = Served::new("aws", &[]);
    let answer = talk(server.address, &get(ID).replacen("GET", "HEAD", 1));
    assert!(answer.contains("\r\nContent-Length: 19\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn other_methods_are_answered() {
    let server = Served::new("aws", &[]);
    for method in ["OPTIONS", "POST", "DELETE", "TRACE", "PATCH", "BREW"] {
        let answer = talk(server.address, &get(ID).replacen("GET", method, 1));
        assert!(answer.starts_with("HTTP/1.1 405 Not Allowed\r\n"), "{method}: {answer}");
    }
    let star = talk(server.address, "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(star.starts_with("HTTP/1.1 405 "), "{star}");
}

#[test]
fn old_and_absolute_requests_are_read() {
    let server = Served::new("aws", &[]);
    assert!(talk(server.address, &format!("GET {ID} HTTP/1.0\r\n\r\n")).ends_with("i-0123456789abcdef0"));
    assert!(talk(server.address, &get(&format!("http://169.254.169.254{ID}"))).ends_with("i-0123456789abcdef0"));
}

#[test]
fn bodies_in_chunks_are_taken() {
    let server = Served::new("aws", &["--imds", "v2"]);
    let head = "PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    let answer = talk(server.address, &format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\r\nContent-Length: 56\r\n"), "{answer}");
    let bad = talk(server.address, &format!("{head}Transfer-Encoding: chunked\r\n\r\nxyz\r\n"));
    assert!(bad.starts_with("HTTP/1.1 400 "), "{bad}");
}

#[test]
fn who_waits_for_leave_is_refused_in_the_captured_way() {
    let server = Served::new("aws", &[]);
    let head = "PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    let answer = talk(server.address, &format!("{head}Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 417 Expectation Failed\r\n"), "{answer}");
}

#[test]
fn large_headers_are_read_up_to_a_limit() {
    let server = Served::new("aws", &[]);
    let with = |size: usize| get(ID).replacen("Host", &format!("X-Large: {}\r\nHost", "x".repeat(size)), 1);
    assert!(talk(server.address, &with(20 << 10)).starts_with("HTTP/1.1 200 "));
    assert!(talk(server.address, &with(64 << 10)).starts_with("HTTP/1.1 431 "));
    let many = get(ID).replacen("Host", &format!("{}Host", "X-Many: x\r\n".repeat(6000)), 1);
    assert!(talk(server.address, &many).starts_with("HTTP/1.1 431 "));
    assert!(talk(server.address, &get(&format!("/{}", "x".repeat(64 << 10)))).starts_with("HTTP/1.1 414 "));
    assert_serves(&server);
}

#[test]
fn requests_may_follow_each_other_without_waiting() {
    let google = Served::new("gcp", &[]);
    let answer = talk(google.address, &format!("{NAME}\r\n{NAME}\r\n{NAME}Connection: close\r\n\r\n"));
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 3, "{answer}");
    // AWS' servers close after the first, unless they are asked to stay.
    let aws = Served::new("aws", &[]);
    assert_eq!(talk(aws.address, &get(ID).repeat(3)).matches("HTTP/1.1 200 OK\r\n").count(), 1);
    let staying = Served::new("aws", &["--keep-alive"]);
    let three = get(ID).repeat(2) + &get(ID).replacen("Host", "Connection: close\r\nHost", 1);
    assert_eq!(talk(staying.address, &three).matches("HTTP/1.1 200 OK\r\n").count(), 3);
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answer() {
    let server = Served::new("gcp", &[]);
    let mut stream = connect(server.address);
    stream.write_all(format!("{NAME}\r\n").as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(rest(&mut stream).ends_with("policyprobe-node"));
}

#[test]
fn slow_and_broken_clients_keep_nobody_from_being_served() {
    let server = Served::new("aws", &[]);
    let slow: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = connect(server.address);
            stream.write_all(b"GET /latest/me").unwrap();
            stream
        })
        .collect();
    let broken = [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "\u{0}\u{1}\u{2}\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\n folded: x\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}",
    ];
    let broken: Vec<_> = broken
        .iter()
        .map(|bytes| {
            let mut stream = connect(server.address);
            let _ = stream.write_all(bytes.as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
            stream
        })
        .collect();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..50).for_each(|_| assert_serves(&server)));
        }
    });
    for mut stream in broken {
        let answer = rest(&mut stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 5"), "{answer}");
    }
    drop(slow);
}

#[test]
fn a_request_may_be_cut_anywhere() {
    let server = Served::new("aws", &["--imds", "v2"]);
    let request = "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\
                   Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for cut in 1..request.len() {
        let mut stream = connect(server.address);
        let (first, second) = request.split_at(cut);
        stream.write_all(first.as_bytes()).unwrap();
        stream.write_all(second.as_bytes()).unwrap();
        let answer = rest(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "cut after {first:?}: {answer}");
    }
}

#[test]
fn a_client_that_ends_amid_its_request_is_not_answered() {
    let server = Served::new("gcp", &[]);
    for part in [
        "GET /",
        NAME,
        "PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc",
        "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na",
    ] {
        let mut stream = connect(server.address);
        stream.write_all(part.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut stream), "", "{part:?}");
    }
    assert!(talk(server.address, &format!("{NAME}Connection: close\r\n\r\n")).ends_with("policyprobe-node"));
}

#[test]
fn what_follows_a_closing_request_is_left_unread() {
    let google = Served::new("gcp", &[]);
    let closing = format!("{NAME}Connection: close\r\n\r\n");
    for rest in ["garbage\r\n\r\n", &closing, "\u{0}\u{0}"] {
        let answer = talk(google.address, &format!("{closing}{rest}"));
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    // One that stays is answered as far as it is understood.
    let answer = talk(google.address, &format!("{NAME}\r\ngarbage\r\n\r\n"));
    assert_eq!((answer.matches("HTTP/1.1 200 ").count(), answer.matches("HTTP/1.1 400 ").count()), (1, 1), "{answer}");
}

#[test]
fn bodies_in_chunks_may_have_extensions_and_trailers() {
    let server = Served::new("gcp", &[]);
    let head = NAME.replacen("GET", "HEAD", 1) + "Transfer-Encoding: chunked\r\n";
    let end = format!("{NAME}Connection: close\r\n\r\n");
    let answer =
        talk(server.address, &format!("{head}\r\n5;name=\"value\"\r\nabcde\r\n0\r\nX-Trailer: x\r\n\r\n{end}"));
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{answer}");
    for bad in ["-1\r\n\r\n", "ffffffffffffffffff\r\n", "3\r\nabcd\r\n", "\r\n\r\n"] {
        let answer = talk(server.address, &format!("{head}\r\n{bad}{end}"));
        assert!(answer.starts_with("HTTP/1.1 4"), "{bad:?}: {answer}");
    }
}

#[test]
fn thousands_of_connections_are_served() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    const WANTED: u64 = 3000;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // Ours are files too, those of other tests beside.
    if hard < 2 * WANTED {
        return eprintln!("skipped: this may open {hard} files only");
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let google = Served::new("gcp", &[]);
    let mut streams: Vec<_> = (0..WANTED).map(|_| connect(google.address)).collect();
    // All at once; then each once more, on the same connection.
    for end in ["\r\n", "Connection: close\r\n\r\n"] {
        for stream in &mut streams {
            stream.write_all(format!("{NAME}{end}").as_bytes()).unwrap();
        }
    }
    for stream in &mut streams {
        assert_eq!(rest(stream).matches("HTTP/1.1 200 OK\r\n").count(), 2);
    }
}

#[test]
fn the_log_has_requests_connections_and_what_is_neither() {
    let server = Served::new("aws", &[]);
    drop(connect(server.address));
    let _ = talk(server.address, "nonsense\r\n\r\n");
    let _ = talk(server.address, &get("/latest/user-data?secret"));
    let ask = || talk(server.control, "GET /log HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut log = ask();
    // The connection's end and the question about it race.
    for _ in 0..100 {
        if log.contains("\"event\":\"connection\"") {
            break;
        }
        log = ask();
    }
    for part in ["\"event\":\"connection\"", "\"event\":\"broken\"", "\"path\":\"/latest/user-data\"", "\"status\":200"]
    {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    assert!(!log.contains("secret"), "{log}");
}

#[test]
fn a_change_wakes_who_waits_for_it() {
    let server = Served::new("gcp", &[]);
    let mut waiting = connect(server.address);
    let path = "/computeMetadata/v1/instance/attributes/colour";
    let put = |value: &str| {
        let length = value.len();
        let request =
            format!("PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{value}");
        let answer = talk(server.control, &request);
        assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    };
    put("red");
    let ask =
        format!("GET {path}?wait_for_change=true HTTP/1.1\r\nMetadata-Flavor: Google\r\nConnection: close\r\n\r\n");
    waiting.write_all(ask.as_bytes()).unwrap();
    // Only a request that is in the log is sure to wait.
    while !talk(server.control, "GET /log HTTP/1.0\r\n\r\n").contains("colour") {}
    put("blue");
    assert!(rest(&mut waiting).ends_with("\r\n\r\nblue"));
}
