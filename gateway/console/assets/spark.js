// A line of the last minute.

import { setText } from "./dom.js";

const seconds = 60;
const [wide, high] = [300, 44];
const space = "http://www.w3.org/2000/svg";

export class Spark {
  constructor(svg, label) {
    this.values = new Array(seconds).fill(0);
    this.svg = svg;
    this.label = label;
    this.area = svg.appendChild(document.createElementNS(space, "path"));
    this.area.setAttribute("class", "area");
    this.line = svg.appendChild(document.createElementNS(space, "path"));
    this.line.setAttribute("class", "line");
    this.draw();
  }

  add(value) {
    this.values.push(value);
    this.values.shift();
    setText(this.label, `${value}/s`);
    this.svg.setAttribute("aria-label", `Messages a second: ${value} now, at most ${Math.max(...this.values)} in the last minute`);
    this.draw();
  }

  draw() {
    const top = Math.max(5, ...this.values);
    const points = this.values.map((v, i) => `${((i * wide) / (seconds - 1)).toFixed(1)} ${(high - 2 - (v / top) * (high - 6)).toFixed(1)}`);
    this.line.setAttribute("d", `M${points.join("L")}`);
    this.area.setAttribute("d", `M0 ${high}L${points.join("L")}L${wide} ${high}Z`);
  }
}
