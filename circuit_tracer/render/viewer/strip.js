// The report of a page of words or steps, and what makes elements.
const report = JSON.parse(document.getElementById("data").textContent);

function made(parent, tag, kind, words) {
  const one = parent.appendChild(document.createElement(tag));
  if (kind) one.className = kind;
  if (words !== undefined) one.textContent = words;
  return one;
}
