use super::*;
use crate::facade::tls;
use crate::facade::upstream::connector;
use axum::http::StatusCode;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(10);
const LONG: usize = 1_024 * 1_024;

/// What a server was asked for: the number of the connection, from 0, and the target.
type Heard = mpsc::UnboundedReceiver<(usize, String)>;

/// A server that does what the target says, and a pool of connections to it.
async fn server() -> (Arc<Pool>, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (tell, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, number, tell.clone()));
        }
    });
    (Pool::new(connector(&tls::client(false, None).unwrap()), &url).unwrap(), heard)
}

async fn serve(mut stream: TcpStream, number: usize, tell: mpsc::UnboundedSender<(usize, String)>) {
    let mut read = String::new();
    loop {
        let Some(end) = read.find("\r\n\r\n") else {
            let mut bytes = [0; 4_096];
            match stream.read(&mut bytes).await {
                Ok(count @ 1..) => read.push_str(std::str::from_utf8(&bytes[..count]).unwrap()),
                _ => return,
            }
            continue;
        };
        let head: String = read.drain(..end + 4).collect();
        assert!(head.contains("\r\nhost: 127.0.0.1:"), "{head}");
        let target = head.split(' ').nth(1).unwrap().to_owned();
        let answer = match target.as_str() {
            "/none" => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            "/chunked" => {
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n\r\n".to_owned()
            }
            "/long" => {
                format!("HTTP/1.1 200 OK\r\ncontent-length: {LONG}\r\n\r\n{}", "x".repeat(LONG))
            }
            "/half" => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort".to_owned(),
            "/hangup" | "/never" => String::new(),
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nshort".to_owned(),
        };
        tell.send((number, target.clone())).unwrap();
        if stream.write_all(answer.as_bytes()).await.is_err() || matches!(&*target, "/hangup" | "/last") {
            return;
        }
    }
}

fn to(target: &str) -> Asked {
    Request::post(target).body(Full::default()).unwrap()
}

async fn body(pool: &Arc<Pool>, target: &str) -> String {
    let answer = timeout(SOON, pool.ask(to(target))).await.expect("an answer").unwrap();
    let read = timeout(SOON, answer.into_body().collect()).await.expect("all of it").unwrap();
    String::from_utf8(read.to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request_whatever_the_answer_was() {
    let (pool, mut heard) = server().await;
    for target in ["/short", "/chunked", "/long", "/none", "/short"] {
        let expected = match target {
            "/long" => LONG,
            "/none" => 0,
            _ => 5,
        };
        assert_eq!(body(&pool, target).await.len(), expected);
        assert_eq!(heard.recv().await.unwrap(), (0, target.to_owned()));
    }
}

#[tokio::test]
async fn requests_at_the_same_time_have_a_connection_each() {
    let (pool, mut heard) = server().await;
    for _ in 0..3 {
        let answers = tokio::join!(body(&pool, "/short"), body(&pool, "/long"), body(&pool, "/chunked"));
        assert_eq!((answers.0.len(), answers.1.len(), answers.2.len()), (5, LONG, 5));
        let mut used = [heard.recv().await.unwrap().0, heard.recv().await.unwrap().0];
        used.sort_unstable();
        assert!(used[0] < used[1] && used[1] < 3 && heard.recv().await.unwrap().0 < 3);
    }
}

#[tokio::test]
async fn what_the_server_has_closed_is_not_used_again() {
    let (pool, mut heard) = server().await;
    assert_eq!(body(&pool, "/last").await, "short");
    sleep(Duration::from_millis(50)).await;
    assert_eq!(body(&pool, "/short").await, "short");
    assert_eq!((heard.recv().await.unwrap().0, heard.recv().await.unwrap().0), (0, 1));
}

#[tokio::test]
async fn a_request_that_may_have_been_heard_is_not_sent_twice() {
    let (pool, mut heard) = server().await;
    assert_eq!(body(&pool, "/short").await, "short");
    let failed = timeout(SOON, pool.ask(to("/hangup"))).await.expect("no hang");
    assert!(matches!(failed, Err(PoolError::Broken(_))), "on a kept connection");
    let failed = timeout(SOON, pool.ask(to("/hangup"))).await.expect("no hang");
    assert!(matches!(failed, Err(PoolError::Broken(_))), "on a new one");
    assert_eq!(body(&pool, "/short").await, "short");
    let mut targets = vec![];
    while let Ok((_, target)) = heard.try_recv() {
        targets.push(target);
    }
    assert_eq!(targets, ["/short", "/hangup", "/hangup", "/short"]);
}

#[tokio::test]
async fn an_answer_that_nobody_reads_to_its_end_is_no_part_of_the_next() {
    let (pool, mut heard) = server().await;
    for target in ["/long", "/half"] {
        let answer = timeout(SOON, pool.ask(to(target))).await.expect("a head").unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        drop(answer);
        let number = heard.recv().await.unwrap().0;
        assert_eq!(body(&pool, "/short").await, "short");
        assert_ne!(heard.recv().await.unwrap().0, number, "{target}");
        // The next one begins anew, too.
        pool.idle.lock().clear();
    }
}

#[tokio::test]
async fn who_gives_up_waiting_takes_the_connection_along() {
    let (pool, mut heard) = server().await;
    assert_eq!(body(&pool, "/short").await, "short");
    assert!(timeout(Duration::from_millis(50), pool.ask(to("/never"))).await.is_err());
    assert_eq!(body(&pool, "/short").await, "short");
    let numbers = [(); 3].map(|()| heard.try_recv().unwrap().0);
    assert_eq!(numbers, [0, 0, 1]);
}

#[tokio::test]
async fn what_nobody_uses_is_closed() {
    let (mut pool, mut heard) = server().await;
    let age_max = Duration::from_millis(300);
    Arc::get_mut(&mut pool).unwrap().age_max = age_max;
    assert_eq!(body(&pool, "/short").await, "short");
    assert_eq!(body(&pool, "/short").await, "short");
    sleep(age_max * 3).await;
    assert_eq!(pool.idle.lock().len(), 0);
    assert_eq!(body(&pool, "/short").await, "short");
    let numbers = [(); 3].map(|()| heard.try_recv().unwrap().0);
    assert_eq!(numbers, [0, 0, 1]);
}

#[tokio::test]
async fn nobody_there_is_told_from_a_broken_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let pool = Pool::new(connector(&tls::client(false, None).unwrap()), &url).unwrap();
    assert!(matches!(pool.ask(to("/short")).await, Err(PoolError::Connect(_))));
    assert!(Pool::new(connector(&tls::client(false, None).unwrap()), &Uri::from_static("/x")).is_none());
}
