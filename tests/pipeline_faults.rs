use kuth::artifact::Product;
use kuth::pipeline::*;
use std::path::Path;
struct Fake;
impl Kinds for Fake {
    type Stage = String;
    fn names(&self) -> Vec<&'static str> {
        vec!["fetch", "tree", "disk"]
    }
    fn product(&self, kind: &str) -> Option<Product> {
        match kind {
            "fetch" => Some(Product::File),
            "tree" => Some(Product::Tree),
            "disk" => Some(Product::Disk),
            _ => None,
        }
    }
    fn read(&self, kind: &str, name: &str, mut fields: Fields<'_>) -> Option<(String, Vec<Input>)> {
        let mut inputs = Vec::new();
        match kind {
            "fetch" => {
                fields.required_text("url");
                fields.existing_path("keyring");
            }
            "tree" => {
                inputs.extend(fields.input("from", &[Product::File, Product::Tree]));
                fields.unique_texts("packages");
                fields.text("suite");
                fields.boolean("clean", false);
            }
            _ => {
                inputs.extend(fields.required_input("from", &[Product::Tree]));
                fields.size_or_rest("size");
                fields.choice("format", &["raw", "qcow2"]);
                fields.integer("cpus", 1..=8);
                for mut row in fields.array_of_tables("volume") {
                    row.required_text("name");
                    row.size("size");
                    row.finish();
                }
            }
        }
        fields.finish();
        Some((name.to_string(), inputs))
    }
}
#[test]
fn dump() {
    for body in [
        "[stage.a]\nkind = \"tree\"\npakages = [\"x\", 1, \"x\"]\n[stage.d]\nkind = \"disk\"\nfrom = \"aa\"\nsize = \"10 GB\"\nformat = \"raww\"\nfrm = 1\n",
        "[stage.a]\nkind = \"tree\"\npackages = [\"x\", 1, \"x\"]\n[stage.f]\nkind = \"fetch\"\nurl = \"${no}\"\nkeyring=\"Cargo.tml\"\n[stage.d]\nkind=\"disk\"\nfrom = \"f\"\n[[stage.d.volume]]\nname='x'\nsize=10\n[[stage.d.volume]]\n",
        "[stage.a]\nkind = \"tree\"\npackages = [\"x\",\n \"y\"\nsuite = \"t\"\n[stage.d]\nkind = \"disk\"\nfrom = \"a\"\n",
        "[stage.a]\nkind = \"tree\nsuite = \"t\"\n[stage.d]\nkind = \"disk\"\nfrom = \"a\"\nsize = 10 GiB\n",
        "[stage.a\nkind = \"tree\"\nsuite = \"t\"\n[stage.d]\nkind = disk\nfrom = \"a\"\n",
        "[stage.a]\nkind = \"tree\"\nsuite = \"\"\"t\n[stage.d]\nkind = disk\nfrom = \"a\"\n",
        "[stage.a]\nkind = \"tree\"\nsuite \"t\"\nsuite = \nsuite: \"x\"\n= 4\nclean = True\n[stage.d]\nkind = \"disk\"\nfrom = \"a\"\n[stage.a]\nkind=\"tree\"\n",
        "[stage.a]\nkind = \"tree\"\nfrom=\"b\"\n[stage.b]\nkind=\"tree\"\nfrom=\"c\"\n[stage.c]\nkind=\"tree\"\nfrom=\"a\"\n[stage.d]\nkind=\"diks\"\nfrom=\"d\"\n[stage.e]\nkind=\"tree\"\nfrom=\"d\"\n",
        "[stage.a]\nkind = \"tree\"\nfrom = { a = 1 }\nkind.x = 1\n[stage.a.kind]\ny=1\n[stage.a.foo]\n[[stage.a.foo]]\n",
    ] {
        let source = format!("[pipeline]\nname = \"é\"\n{body}");
        match load(Path::new("pipelines/x.toml"), &source, &[], &|_| None, &Fake) {
            Ok(_) => println!("=== OK"),
            Err(e) => println!("=====\n{e}"),
        }
    }
}
