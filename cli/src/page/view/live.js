"use strict";
(function () {
  var seen = null;
  function look() {
    fetch("version", { cache: "no-store" }).then(function (answer) {
      return answer.text();
    }).then(function (version) {
      if (seen !== null && version !== seen) { location.reload(); }
      seen = version;
      document.title = document.title.replace(/^\(away\) /, "");
    }).catch(function () {
      if (!/^\(away\)/.test(document.title)) { document.title = "(away) " + document.title; }
    });
  }
  look();
  setInterval(look, 2000);
})();
