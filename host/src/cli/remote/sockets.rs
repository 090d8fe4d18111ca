//! `dormouse sockets`.

use super::args::Sockets;
use super::client::{Client, Named};
use super::show;
use crate::admin::api::Socket;
use crate::cli::terminal;

pub(super) async fn run(args: Sockets) -> anyhow::Result<()> {
    let client = Client::new(&args.reach)?;
    let rest = match &args.object {
        Some(object) => format!("{}/sockets", Named::parse(object)?.path()),
        None => "/sockets".to_owned(),
    };
    let sockets: Vec<Socket> = client.get(&client.in_app(&rest).await?).await?;
    if args.reach.json {
        return show::json(&sockets);
    }
    show(&sockets);
    Ok(())
}

pub(super) fn show(sockets: &[Socket]) {
    let rows = sockets.iter().map(|socket| {
        [
            format!("{}/{}", socket.class, show::clean(&socket.object)),
            socket.id.to_string(),
            socket.state.clone(),
            show::clean(&socket.tags.join(", ")),
            terminal::bytes(socket.buffered_bytes),
            terminal::bytes(socket.attachment_bytes as u64),
            show::time(socket.auto_response_ms),
        ]
    });
    show::table(
        [
            "OBJECT",
            "SOCKET",
            "STATE",
            "TAGS",
            "WAITING",
            "ATTACHMENT",
            "AUTO-RESPONSE",
        ],
        rows,
    );
}
