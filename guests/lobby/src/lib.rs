//! A lobby: a worker that asks who you are, and rooms that need not ask again.
//!
//! Every request comes to the worker. It looks at `authorization: Bearer …` (or
//! `?token=…`, because a browser sends no headers with a WebSocket), and hands the
//! request on to the room in the path, with the name it has found in `x-user`. `/who`
//! tells who was here within the hour. A
//! WebSocket is handed on like any other request; it then belongs to the room.

use std::time::Duration;

use dormouse_sdk::prelude::*;

needs! {
    /// Who may come in, by token: `ada=sesame bob=please`. A real app asks its database,
    /// or checks a signature.
    secret TOKENS;
    /// Who was here within the hour.
    kv SEEN;
}

#[worker]
async fn fetch(request: Request, env: Env, _ctx: WorkerContext) -> Result<Response> {
    let Some(user) = user(&request, &env)? else {
        return Ok(Response::text("who are you?\n")
            .with_status(401)
            .with_header("www-authenticate", "Bearer"));
    };
    let seen = env.kv(SEEN)?;
    if request.path() == "/who" {
        let keys = seen.list(ListKeys::default()).await?.keys;
        let names: Vec<_> = keys.into_iter().map(|key| key.name + "\n").collect();
        return Ok(Response::text(names.concat()));
    }
    seen.put_for(&user, &true, Duration::from_secs(3_600))
        .await?;
    let path = request.path().to_owned();
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let (Some(room), Some(rest)) = (parts.next(), parts.next()) else {
        return Ok(Response::not_found());
    };
    let rooms = env.namespace::<Stub>("Room")?;
    // Replaces what a client may have sent under this name.
    let request = request
        .with_url(format!("/{rest}"))
        .with_header("x-user", user);
    rooms.get_by_name(room).fetch(request).await
}

fn user(request: &Request, env: &Env) -> Result<Option<String>> {
    let header = request.header("authorization").unwrap_or_default();
    let token = match header.strip_prefix("Bearer ") {
        Some(token) => token.to_owned(),
        None => request
            .query_value("token")
            .unwrap_or_default()
            .into_owned(),
    };
    let tokens = env.secret(TOKENS)?;
    let mut known = tokens.split(' ').filter_map(|pair| pair.split_once('='));
    let found = known.find(|(_, secret)| *secret == token);
    Ok(found.map(|(user, _)| user.to_owned()))
}

struct Room {
    state: State,
}

#[durable_object]
impl DurableObject for Room {
    async fn new(state: State, _env: Env) -> Result<Self> {
        Ok(Self { state })
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let user = request.header("x-user").context("nobody in particular")?;
        let user = user.to_owned();
        let upgrade = request.upgrade();
        match (request.path(), upgrade) {
            ("/ws", Some(upgrade)) => {
                upgrade.with_attachment(&user)?.accept()?;
                Ok(Response::websocket().with_header("x-room", self.name()))
            }
            ("/whoami", _) => Ok(Response::text(format!("{user} in {}\n", self.name()))),
            _ => Ok(Response::not_found()),
        }
    }

    async fn websocket_message(&self, socket: WebSocket, message: Message) -> Result<()> {
        let user: String = socket.attachment()?.context("a socket without a user")?;
        if let Message::Text(text) = message {
            self.state.broadcast(format!("{user}: {text}"));
        }
        Ok(())
    }
}

impl Room {
    fn name(&self) -> &str {
        self.state.id().name().unwrap_or_default()
    }
}
