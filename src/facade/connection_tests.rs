use super::*;
use axum::routing::{get, post};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const GET: &[u8] = b"GET /short HTTP/1.1\r\nhost: x\r\n\r\n";
/// More than the buffers of both sockets take.
const LONG: usize = 16 * 1_024 * 1_024;

fn connection(close: &Close) -> Connection {
    let router = Router::new()
        .route("/short", get(|| async { "short" }))
        .route("/long", get(|| async { "x".repeat(LONG) }))
        .route("/refused", post(|| async { axum::http::StatusCode::UNAUTHORIZED }))
        .route("/read", post(|body: String| async { body }));
    Connection { router, peer: [127, 0, 0, 1].into(), head_deadline: HEAD_DEADLINE, close: close.clone() }
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// A client whose connection is served.
async fn served(close: &Close) -> (TcpStream, JoinHandle<()>) {
    let (client, server) = pair().await;
    (client, tokio::spawn(connection(close).serve(server)))
}

/// Reads so many answers that end with `end`.
async fn read(client: &mut TcpStream, answers: usize, end: &str) -> String {
    let mut read = vec![];
    while String::from_utf8_lossy(&read).matches(end).count() < answers {
        assert!(client.read_buf(&mut read).await.unwrap() > 0, "{}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn after_an_answer_only_the_socket_is_kept() {
    let (mut client, mut server) = pair().await;
    let connection = connection(&Close::default());
    let half = GET.len() / 2;
    // Half a request is none, and what came of it with the one before is not lost.
    let rows = [
        (GET.to_vec(), 0),
        (b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nshort".to_vec(), 0),
        ([GET, &GET[..half]].concat(), half),
    ];
    for (sent, kept) in rows {
        client.write_all(&sent).await.unwrap();
        server.readable().await.unwrap();
        let idle = connection.talk(server, Bytes::new(), false, pin!(sleep(SOON))).await.unwrap();
        assert!(idle.asked && idle.unread == GET[..kept], "{:?}", idle.unread);
        read(&mut client, 1, "\r\n\r\nshort").await;
        server = idle.socket;
    }
}

#[tokio::test]
async fn a_body_that_comes_by_itself_leaves_only_the_socket_too() {
    for ask in ["content-length: 5\r\n", "content-length: 5\r\nexpect: 100-continue\r\n"] {
        let (mut client, server) = pair().await;
        let connection = connection(&Close::default());
        let sent = async {
            let head = format!("POST /read HTTP/1.1\r\nhost: x\r\n{ask}\r\n");
            client.write_all(head.as_bytes()).await.unwrap();
            sleep(Duration::from_millis(50)).await;
            client.write_all(b"short").await.unwrap();
            read(&mut client, 1, "\r\n\r\nshort").await
        };
        let talk = async {
            server.readable().await.unwrap();
            connection.talk(server, Bytes::new(), false, pin!(sleep(SOON))).await
        };
        let both = tokio::time::timeout(SOON * 10, async { tokio::join!(sent, talk) });
        let (answer, idle) = both.await.expect("it does not wait for the next request");
        assert!(answer.contains("HTTP/1.1 200 OK") && idle.is_some_and(|idle| idle.asked), "{answer}");
    }
}

#[tokio::test]
async fn who_asks_for_an_end_of_the_connection_gets_one() {
    let rows = ["GET /short HTTP/1.0\r\n\r\n", "GET /short HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"];
    for sent in rows {
        let (mut client, ended) = served(&Close::default()).await;
        client.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("200 OK") && answer.ends_with("short"), "{answer}");
        ended.await.unwrap();
    }
}

#[tokio::test]
async fn requests_in_any_pieces_are_answered_one_by_one() {
    let all = [GET, b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nshort", GET].concat();
    for piece in [1, 7, GET.len(), GET.len() + 7, all.len()] {
        let (mut client, _) = served(&Close::default()).await;
        client.set_nodelay(true).unwrap();
        for bytes in all.chunks(piece) {
            client.write_all(bytes).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let answers = read(&mut client, 3, "\r\n\r\nshort").await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "in pieces of {piece}: {answers}");
    }
}

#[tokio::test]
async fn the_rest_of_a_refused_body_is_never_a_request() {
    let (mut client, _) = served(&Close::default()).await;
    let head = format!("POST /refused HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", GET.len() * 3);
    client.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    for _ in 0..3 {
        drop(client.write_all(GET).await);
    }
    let mut answers = vec![];
    drop(tokio::time::timeout(Duration::from_millis(500), client.read_to_end(&mut answers)).await);
    let answers = String::from_utf8(answers).unwrap();
    assert!(answers.starts_with("HTTP/1.1 401 "), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1").count(), 1, "{answers}");
}

#[tokio::test]
async fn an_answer_that_is_taken_slowly_is_sent_to_its_end() {
    let (mut client, _) = served(&Close::default()).await;
    client.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.write_all(GET).await.unwrap();
    let answers = read(&mut client, 1, "\r\n\r\nshort").await;
    assert_eq!(answers.len() - answers.replace(&"x".repeat(1_024), "").len(), LONG, "all of it");
}

#[tokio::test]
async fn who_asks_again_soon_keeps_the_connection_ready_for_a_while() {
    let (mut client, server) = pair().await;
    let connection = connection(&Close::default());
    client.write_all(GET).await.unwrap();
    let started = Instant::now();
    let clock = pin!(sleep(SOON));
    let mut talk = pin!(connection.talk(server, Bytes::new(), true, clock));
    for _ in 0..2 {
        tokio::select! {
            _ = &mut talk => panic!("it is kept"),
            () = sleep(SOON * 3 / 4) => client.write_all(GET).await.unwrap(),
        }
    }
    assert!(talk.await.is_some() && started.elapsed() > SOON * 2);
}

#[tokio::test]
async fn s10_who_does_not_end_a_head_is_hung_up_on_whatever_came_before() {
    const UNREAD: &[u8] = b"POST /refused HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nshort";
    let head_deadline = SOON * 2;
    for (before, piece) in [
        (vec![], &b"GET /short"[..]),
        (vec![GET], b"GET /short"),
        (vec![GET; 3], b"GET /short"),
        (vec![UNREAD], b"GET /short"),
        (vec![GET, GET, UNREAD], b""),
    ] {
        let (mut client, server) = pair().await;
        let connection = Connection { head_deadline, ..connection(&Close::default()) };
        let ended = tokio::spawn(connection.serve(server));
        for request in &before {
            client.write_all(request).await.unwrap();
            read(&mut client, 1, "\r\n\r\n").await;
        }
        let started = Instant::now();
        let slow = async {
            for _ in 0..30 {
                drop(client.write_all(piece).await);
                sleep(head_deadline / 10).await;
            }
        };
        tokio::select! {
            () = slow => panic!("it takes its time after {} requests", before.len()),
            _ = ended => assert!(started.elapsed() >= head_deadline * 3 / 4, "{:?}", started.elapsed()),
        }
    }
}

#[tokio::test]
async fn who_reads_slowly_is_given_the_time_and_who_reads_nothing_is_not() {
    for (reads, whole) in [(true, true), (false, false)] {
        let (mut client, server) = pair().await;
        let connection = Connection { head_deadline: SOON, ..connection(&Close::default()) };
        let ended = tokio::spawn(connection.serve(server));
        client.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let (mut all, mut piece) = (0, vec![0; LONG / 8]);
        for _ in 0..10 {
            sleep(SOON / 4).await;
            if reads {
                all += client.read(&mut piece).await.unwrap_or_default();
            }
        }
        while let Ok(count @ 1..) = client.read(&mut piece).await {
            all += count;
        }
        assert_eq!(all > LONG, whole, "{all}");
        ended.await.unwrap();
    }
}

#[tokio::test]
async fn closing_ends_what_is_idle_and_lets_what_is_asked_end() {
    let close = Close::default();
    let (mut idle, ended) = served(&close).await;
    idle.write_all(GET).await.unwrap();
    read(&mut idle, 1, "short").await;
    let (mut busy, answers) = served(&close).await;
    busy.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    close.close();
    ended.await.unwrap();
    let mut all = vec![];
    busy.read_to_end(&mut all).await.unwrap();
    assert!(all.len() > LONG);
    answers.await.unwrap();
}
