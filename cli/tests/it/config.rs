//! Where settings come from.

use crate::fake::Fake;
use crate::run::run;

#[test]
fn each_layer_beats_the_one_below() {
    let fake = Fake::start();
    let directory = fake.home().join(".config").join("chatctl");
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("config.toml");
    std::fs::write(
        &file,
        "timeout = \"5s\"\nretries = 1\napp = \"0123456789abcdef0123456789abcdef\"\n",
    )
    .unwrap();
    let explain = |key: &str, args: &[&str], env: Option<&str>| {
        let mut command = fake.chatctl(&["config", "explain", key, "-o", "json"]);
        command.args(args);
        if let Some(value) = env {
            command.env("CHATCTL_TIMEOUT", value);
        }
        let ran = run(&mut command).ok().json();
        (ran["value"].clone(), ran["layer"].clone())
    };
    assert_eq!(explain("timeout", &[], None), ("5s".into(), "file".into()));
    assert_eq!(
        explain("timeout", &[], Some("6s")),
        ("6s".into(), "environment".into())
    );
    assert_eq!(
        explain("timeout", &[], Some("")),
        ("5s".into(), "file".into())
    );
    assert_eq!(
        explain("timeout", &["--timeout", "7s"], Some("6s")),
        ("7s".into(), "flag".into())
    );
    assert_eq!(
        explain("color", &[], None),
        ("auto".into(), "default".into())
    );
    // Credentials are not for screenshots.
    assert_eq!(explain("app", &[], None), ("0123…".into(), "file".into()));

    let table = fake.run(&["config", "explain", "color"]).ok().stdout;
    assert!(table.starts_with("USED  LAYER        FROM"), "{table}");
    let shown = fake
        .run(&["config", "show", "--server", "http://flag", "-o", "csv"])
        .ok()
        .stdout;
    let shown = shown
        .replace(&file.display().to_string(), "FILE")
        .replace(&fake.url, "URL");
    insta::assert_snapshot!(shown, @"
    key,value,layer,from
    server,http://flag,flag,--server
    admin,URL,environment,CHATCTL_ADMIN
    admin-key,,-,
    admin-key-file,,-,
    app,0123…,file,FILE
    chat,,-,
    output,csv,flag,--output
    quiet,false,default,
    timeout,5s,file,FILE
    retries,1,file,FILE
    no-input,false,default,
    color,auto,default,
    verbose,false,default,
    ");
}

#[test]
fn mistakes_in_the_file_are_named() {
    let fake = Fake::start();
    let file = fake.home().join("mine.toml");
    for (text, expected) in [
        ("sever = 1", "sever"),
        ("timeout = \"soon\"", "timeout"),
        ("x", "mine.toml"),
    ] {
        std::fs::write(&file, text).unwrap();
        let ran = run(fake.chatctl(&["config", "show", "--config"]).arg(&file));
        assert_eq!(ran.code, Some(2));
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    }
    std::fs::remove_file(&file).unwrap();
    let ran = run(fake.chatctl(&["config", "show", "--config"]).arg(&file));
    assert_eq!(ran.code, Some(2));
}

#[test]
fn all_settings_at_once() {
    let fake = Fake::start();
    let shown = run(fake
        .chatctl(&["config", "show", "-v", "-o", "csv"])
        .env("CHATCTL_ADMIN_KEY", "secret"))
    .ok()
    .stdout;
    let shown = shown.replace(&fake.url, "URL");
    assert!(!shown.contains("secret"));
    insta::assert_snapshot!(shown, @"
    key,value,layer,from
    server,URL,environment,CHATCTL_SERVER
    admin,URL,environment,CHATCTL_ADMIN
    admin-key,…,environment,CHATCTL_ADMIN_KEY
    admin-key-file,,-,
    app,,-,
    chat,,-,
    output,csv,flag,--output
    quiet,false,default,
    timeout,30s,default,
    retries,3,default,
    no-input,false,default,
    color,auto,default,
    verbose,true,flag,--verbose
    ");
}
