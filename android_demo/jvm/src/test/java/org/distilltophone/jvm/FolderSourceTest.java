package org.distilltophone.jvm;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import org.distilltophone.core.BadFileException;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

public class FolderSourceTest {
    @Rule public TemporaryFolder folder = new TemporaryFolder();

    @Test
    public void filesOfTheFolderAreReadAndNoOthers() throws Exception {
        File root = folder.newFolder("bundle");
        Files.createDirectory(new File(root, "golden").toPath());
        Files.write(new File(root, "golden/a").toPath(), "inside".getBytes(StandardCharsets.UTF_8));
        Files.write(folder.newFile("outside").toPath(), "outside".getBytes(StandardCharsets.UTF_8));
        Files.createSymbolicLink(new File(root, "link").toPath(), new File(folder.getRoot(), "outside").toPath());
        FolderSource source = new FolderSource(root);
        assertEquals("inside", StandardCharsets.UTF_8.decode(source.read("golden/a")).toString());
        refused(source, "nothing", "missing");
        refused(source, "golden", "missing");
        refused(source, "link", "leads out");
        refused(source, "../outside", "leads out");
    }

    private static void refused(FolderSource source, String name, String why) {
        BadFileException refused = assertThrows(BadFileException.class, () -> source.read(name));
        assertTrue(refused.getMessage(), refused.getMessage().contains(why));
        assertFalse(refused.cure.isEmpty());
    }
}
