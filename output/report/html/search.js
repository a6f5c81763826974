// SPDX-License-Identifier: Apache-2.0
"use strict";
// Show the rows that have every word that was typed.
(function () {
	var box = document.getElementById("search");
	var shown = document.getElementById("shown");
	var rows = Array.prototype.slice.call(document.querySelectorAll("#worst tbody tr"));
	if (!box) {
		return;
	}
	var texts = rows.map(function (row) { return row.textContent.toLowerCase(); });
	function search() {
		var words = box.value.toLowerCase().split(/\s+/);
		var n = 0;
		rows.forEach(function (row, i) {
			var hit = words.every(function (word) { return texts[i].indexOf(word) >= 0; });
			row.hidden = !hit;
			n += hit ? 1 : 0;
		});
		shown.textContent = n + " of " + rows.length;
	}
	box.parentNode.hidden = false;
	box.addEventListener("input", search);
	search();
})();
