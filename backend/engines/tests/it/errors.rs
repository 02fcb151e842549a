//! What is wrong is told by the setting and the remedy.

use chat_core::port::log::Topic;
use chat_engines::config::Config;
use chat_engines::open::{connect, migrate};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::namespace::Namespace;

async fn refused(config: &Config) -> chat_engines::error::Error {
    match connect(config).await {
        Ok(_) => panic!("a connection was not expected"),
        Err(error) => error,
    }
}

/// A place where nothing listens.
const NOWHERE: &str = "127.0.0.1:9";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_up_is_named_and_may_come() {
    let good = Namespace::fresh().await;
    let broken = [
        (
            "DATABASE_URL",
            Config {
                database_url: format!("mysql://u:hush@{NOWHERE}/d"),
                ..good.config.clone()
            },
        ),
        (
            "REDIS_URL",
            Config {
                redis_url: format!("redis://:hush@{NOWHERE}/0"),
                ..good.config.clone()
            },
        ),
        (
            "KAFKA_BROKERS",
            Config {
                kafka_brokers: NOWHERE.to_owned(),
                ..good.config.clone()
            },
        ),
    ];
    for (setting, config) in broken {
        let error = refused(&config).await;
        assert_eq!(error.setting(), setting, "{error}");
        assert!(error.retryable(), "{error}");
        assert!(!error.to_string().contains("hush"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_login_is_told() {
    let good = Namespace::fresh().await;
    let wrong = good
        .config
        .database_url
        .replacen("chat:chat@", "chat:hush@", 1);
    let error = refused(&Config {
        database_url: wrong,
        ..good.config.clone()
    })
    .await;
    assert_eq!(error.setting(), "DATABASE_URL");
    assert!(
        !error.retryable() && error.to_string().contains("password"),
        "{error}"
    );
    assert!(!error.to_string().contains("hush"), "{error}");
}

/// A server that wants a password and gets none; the shared one lets everybody in.
async fn guarded() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = vec![0; 64 * 1024];
            while let Ok(bytes @ 1..) = stream.read(&mut asked).await {
                // Each command is an array.
                let commands = asked[..bytes].iter().filter(|byte| **byte == b'*').count();
                let answers = "-NOAUTH Authentication required.\r\n".repeat(commands);
                if stream.write_all(answers.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_password_of_redis_is_told() {
    let good = Namespace::fresh().await;
    let error = refused(&Config {
        redis_url: format!("redis://{}", guarded().await),
        ..good.config.clone()
    })
    .await;
    assert_eq!(error.setting(), "REDIS_URL");
    assert!(
        !error.retryable() && error.to_string().contains("password"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_migrated_says_so() {
    let bare = Namespace::bare();
    let error = refused(&bare.config).await;
    assert!(error.to_string().contains("chatd migrate"), "{error}");
    migrate(&bare.config).await.unwrap();
    migrate(&bare.config).await.unwrap();
    let other = Config {
        topic_prefix: format!("{}x", bare.config.topic_prefix),
        ..bare.config.clone()
    };
    let error = refused(&other).await;
    assert_eq!(error.setting(), "KAFKA_BROKERS");
    assert!(error.to_string().contains("chatd migrate"), "{error}");
    let other = Config {
        index_prefix: format!("{}x", bare.config.index_prefix),
        ..bare.config.clone()
    };
    let ports = connect(&other).await.unwrap();
    let error = ports.search.check().await.unwrap_err().to_string();
    assert!(
        error.contains("ELASTICSEARCH_URL") && error.contains("chatd migrate"),
        "{error}"
    );
}

/// Creates need no index: a process starts without one, and looks at it when it is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_needs_no_index() {
    let good = Namespace::fresh().await;
    let away = Config {
        elasticsearch_url: format!("http://u:hush@{NOWHERE}"),
        ..good.config.clone()
    };
    let ports = connect(&away).await.unwrap();
    let error = ports.search.check().await.unwrap_err();
    assert!(error.retryable(), "{error}");
    assert!(error.to_string().contains("ELASTICSEARCH_URL"), "{error}");
    assert!(!error.to_string().contains("hush"), "{error}");
    let error = match migrate(&away).await {
        Ok(()) => panic!("an index was made nowhere"),
        Err(error) => error,
    };
    assert_eq!(error.setting(), "ELASTICSEARCH_URL");
    assert!(error.retryable(), "{error}");
}

/// Somebody waits for the answer of a search: an engine that hangs is not waited for like a batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_hangs_is_not_waited_for() {
    let good = Namespace::fresh().await;
    // Connections are accepted by the system, and nobody reads them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hangs = Config {
        elasticsearch_url: format!("http://{}", silent.local_addr().unwrap()),
        ..good.config.clone()
    };
    let ports = connect(&hangs).await.unwrap();
    // A question is given 5 s, a batch 20.
    let below_a_batch = std::time::Duration::from_secs(15);
    let began = std::time::Instant::now();
    assert!(ports.search.check().await.unwrap_err().retryable());
    assert!(began.elapsed() < below_a_batch, "{:?}", began.elapsed());
    let token = chat_wire::ids::AppToken::from_bytes([1; 16]);
    let began = std::time::Instant::now();
    let counted = ports.search.count(token, None).await;
    assert!(counted.unwrap_err().retryable());
    assert!(began.elapsed() < below_a_batch, "{:?}", began.elapsed());
}

/// An index that comes up later is checked then: another mapping would answer wrongly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_comes_late_is_checked() {
    let late = Namespace::fresh().await;
    let other = Config {
        index_prefix: format!("{}late-", late.config.index_prefix),
        ..late.config.clone()
    };
    let ports = connect(&other).await.unwrap();
    assert!(ports.search.check().await.unwrap_err().retryable());
    migrate(&other).await.unwrap();
    ports.search.check().await.unwrap();

    let older = Config {
        index_prefix: format!("{}old-", late.config.index_prefix),
        ..late.config.clone()
    };
    let ports = connect(&older).await.unwrap();
    late.make_index(&format!("{}messages", older.index_prefix), 0)
        .await;
    let error = ports.search.check().await.unwrap_err();
    assert!(!error.retryable(), "{error}");
    assert!(error.to_string().contains("version 0"), "{error}");
    let error = refused(&older).await;
    assert_eq!(error.setting(), "ELASTICSEARCH_URL");
    assert!(error.to_string().contains("chatd migrate"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_partition_count_is_refused() {
    let first = Namespace::fresh().await;
    let mut second = Namespace::bare();
    second.config.topics.messages_partitions = Some(5);
    migrate(&second.config).await.unwrap();
    // The database of one, the topics of the other.
    let mixed = Config {
        topic_prefix: second.config.topic_prefix.clone(),
        ..first.config.clone()
    };
    let error = refused(&mixed).await.to_string();
    assert!(
        error.contains("has 5 partitions") && error.contains("messages"),
        "{error}"
    );
}

/// A topic that was lost is made again as its keys are spread, whatever a new one would get by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_topic_is_made_with_the_partitions_that_it_had() {
    let mut namespace = Namespace::fresh().await;
    connect(&namespace.config).await.unwrap();
    namespace.delete_topic(Topic::Messages).await;
    namespace.config.topics.messages_partitions = None;
    migrate(&namespace.config).await.unwrap();
    connect(&namespace.config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_url_at_all_is_told_without_repeating_it() {
    let good = Namespace::bare();
    let broken = [
        Config {
            database_url: "hush".into(),
            ..good.config.clone()
        },
        Config {
            database_url: "mysql://u:hush@h:1".into(),
            ..good.config.clone()
        },
        Config {
            elasticsearch_url: "hush".into(),
            ..good.config.clone()
        },
        Config {
            redis_url: "hush".into(),
            ..good.config.clone()
        },
    ];
    migrate(&good.config).await.unwrap();
    for config in broken {
        let error = refused(&config).await;
        assert!(
            !error.retryable() && !error.to_string().contains("hush"),
            "{error}"
        );
    }
}
