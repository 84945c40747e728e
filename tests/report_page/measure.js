// Measures pages in frames: `pages` is a list of [name, width, html], and `report` gets the findings.
// Runs in Chromium; tests/report_page has the other side.

// The texts that can be seen: [text, rectangles, whether it is in something that scrolls].
function labels(page) {
  const found = [];
  const walker = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.data.trim() || parent.closest("title, style, script")) continue;
    if (!parent.checkVisibility({ visibilityProperty: true })) continue;
    const range = page.createRange();
    range.selectNodeContents(node);
    const boxes = [...range.getClientRects()].filter((box) => box.width > 0 && box.height > 0);
    found.push([node.data.trim(), boxes, parent.closest("pre, .scroll") !== null]);
  }
  return found;
}

// More than what lines of text that belong together share.
function overlap(a, b) {
  const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  return width > 1 && height > 3;
}

function measure(frame) {
  const page = frame.contentDocument, root = page.documentElement;
  const texts = labels(page), findings = [];
  if (root.scrollWidth > root.clientWidth) {
    findings.push(`the page is ${root.scrollWidth} wide, the window ${root.clientWidth}`);
  }
  for (const [text, boxes, scrolls] of texts) {
    const outside = boxes.some((box) => box.left < 0 || box.right > root.clientWidth + 1);
    if (outside && !scrolls) findings.push(`outside the window: ${text}`);
  }
  for (let at = 0; at < texts.length; at++) {
    for (let other = at + 1; other < texts.length; other++) {
      if (texts[at][1].some((a) => texts[other][1].some((b) => overlap(a, b)))) {
        findings.push(`overlap: ${texts[at][0]} | ${texts[other][0]}`);
      }
    }
  }
  // A label of a box is in it.
  for (const box of page.querySelectorAll("svg g > rect.box")) {
    const around = box.getBoundingClientRect();
    for (const text of box.parentElement.querySelectorAll("text")) {
      const { left, right, top, bottom } = text.getBoundingClientRect();
      const inside = left >= around.left && right <= around.right;
      if (!inside || top < around.top || bottom > around.bottom) {
        findings.push(`outside its box: ${text.textContent}`);
      }
    }
  }
  const asked = frame.contentWindow.performance.getEntriesByType("resource");
  for (const entry of asked) findings.push(`a request: ${entry.name}`);
  return { labels: texts.length, findings };
}

async function run(pages, report) {
  const results = {};
  for (const [name, width, html] of pages) {
    const frame = document.createElement("iframe");
    frame.width = width;
    frame.height = 3000;
    const loaded = new Promise((resolve) => (frame.onload = resolve));
    frame.srcdoc = html;
    document.body.append(frame);
    await loaded;
    results[name] = measure(frame);
    frame.remove();
  }
  report(JSON.stringify(results));
}
