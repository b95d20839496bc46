// Follows a deployment while it goes on: its lines, how it stands, to its end. The page can be read
// without this.

const MOST_LINES = 5000; // a page with more of them is slow; the whole log is a link away
const FLUSH_MS = 50;
const AGAIN_MS = 5000;

const log = document.getElementById("log");
const toEnd = document.getElementById("to-end");
let following = !location.hash.startsWith("#L");
let next = Number(log?.dataset.next);
let last = "";
let held = [];

function goToEnd() {
  following = true;
  log.scrollTop = log.scrollHeight;
}

function row(pieces) {
  const line = document.createElement("div");
  line.className = "line";
  line.id = `L${next}`;
  const number = document.createElement("a");
  number.href = `#L${next}`;
  number.textContent = next;
  number.setAttribute("aria-label", `Line ${next}`);
  const text = document.createElement("span");
  for (const [classes, content] of pieces) {
    const piece = document.createElement("span");
    piece.className = classes;
    piece.textContent = content; // never HTML: a stranger wrote it
    text.append(classes ? piece : content);
  }
  line.append(number, text);
  next += 1;
  return line;
}

function flush() {
  const rows = held.map(row);
  held = [];
  log.append(...rows);
  while (log.childElementCount > MOST_LINES) log.firstElementChild.remove();
  document.getElementById("empty")?.remove();
  if (following) goToEnd();
}

function hold(pieces) {
  if (!held.length) setTimeout(flush, FLUSH_MS);
  held.push(pieces);
}

function show(html) {
  const now = document.getElementById("now");
  const before = now.firstElementChild.dataset.headline;
  now.replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.children);
  const headline = now.firstElementChild.dataset.headline;
  if (headline !== before) {
    document.getElementById("said").textContent = headline;
    document.title = document.title.replace(before, () => headline);
  }
  tick();
}

function tick() {
  for (const element of document.querySelectorAll("[data-seconds]")) {
    element.began ??= performance.now() - 1000 * element.dataset.seconds;
    const seconds = Math.floor((performance.now() - element.began) / 1000);
    element.textContent =
      seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  }
}

function follow(address) {
  const url = new URL(address, location.href);
  if (last) url.searchParams.set("after", last);
  const events = new EventSource(url);
  events.onmessage = (event) => {
    last = event.lastEventId;
    hold(JSON.parse(event.data));
  };
  events.addEventListener("now", (event) => show(event.data));
  events.addEventListener("end", (event) => {
    events.close();
    clearInterval(ticking);
    show(event.data);
  });
  // A stream that is cut is taken up again by the browser; one that is refused is not.
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, AGAIN_MS, address);
  };
}

const ticking = setInterval(tick, 1000);
if (log) {
  log.addEventListener("scroll", () => {
    following = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    toEnd.hidden = following;
  });
  toEnd.addEventListener("click", goToEnd);
  if (following) goToEnd();
  if (log.dataset.events) follow(log.dataset.events);
}
